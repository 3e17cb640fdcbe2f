"""Render a video of signs that move through the image, with the ground truth of every frame."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fgd_yolo.cache import make_folder
from fgd_yolo.console import progress
from fgd_yolo.demo.rendering import (
    MAX_SIZE,
    MIN_SIZE,
    Canvas,
    Pose,
    add_noise,
    background,
    lighting,
    random_pose,
    sensor_noise,
)
from fgd_yolo.demo.signs import NAMES, SIGNS, Sign, random_clutter, vary_colour
from fgd_yolo.errors import FGDError
from fgd_yolo.strict_json import to_json

FORMAT_VERSION = 1
"""Part of the name of the cached folder: increase it when the same seed gives other files."""

_VIDEO_SEED = 2  # the dataset uses 0 and 1
_CROSSINGS_PER_S = 1.2
_EMPTY_S = 1.0  # the video begins with empty frames


class MovingSign(NamedTuple):
    """A sign that enters the image, crosses it once and leaves; `object_id` is 0 for clutter."""

    sign: Sign
    body_bgr: np.ndarray
    mark_bgr: np.ndarray
    object_id: int
    class_index: int
    enters_s: float
    duration_s: float
    path_px: np.ndarray  # (2, 2): start, end
    long_side_px: tuple[float, float]  # at the start and at the end
    angle: tuple[float, float]  # at the start, and its change
    sway_px: float
    width_scale: float

    def pose(self, time_s: float) -> Pose | None:
        """Return the pose at a time, or None outside the time of the crossing."""
        fraction = (time_s - self.enters_s) / self.duration_s
        if not 0 <= fraction <= 1:
            return None
        start, end = self.path_px
        x, y = start + fraction * (end - start)
        y += self.sway_px * np.sin(fraction * 4 * np.pi)
        first, last = self.long_side_px
        size = first * (last / first) ** fraction
        return Pose((x, y), size, self.angle[0] + self.angle[1] * fraction, self.width_scale)


def demo_video(
    cache_dir: Path,
    *,
    seconds: int = 30,
    fps: int = 25,
    width_px: int = 640,
    height_px: int = 480,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Render the demo video and its ground truth on first use.

    Signs of all classes cross a static background with clutter; they rotate, change their size and occlude each other.
    Other clutter moves among them. The first second has no objects.

    Convention:
        `truth.json` has fps, width_px, height_px, names, and frames: for each frame a list of
        `{"id": int, "class": int, "xyxy": [left, top, right, bottom]}` in pixels. An id belongs to one crossing and is
        never reused. A box encloses the visible part of a sign; while less than 30 % of it is visible, it has none.
    Returns:
        The paths of `demo.mp4` (MPEG-4 part 2) and `truth.json`.
    Raises:
        FGDError: the folder cannot be written, or this OpenCV has no MPEG-4 encoder.
    """
    name = f"demo-video-v{FORMAT_VERSION}-{seconds}s-{fps}fps-{width_px}x{height_px}-seed{seed}"

    def fill(folder: Path) -> None:
        rng = np.random.default_rng([seed, _VIDEO_SEED])
        frames = _write_video(rng, folder / "demo.mp4", seconds, fps, (width_px, height_px))
        truth = {
            "fps": fps,
            "width_px": width_px,
            "height_px": height_px,
            "names": list(NAMES),
            "frames": frames,
        }
        (folder / "truth.json").write_text(to_json(truth, separators=(",", ":")), encoding="utf-8")

    folder = make_folder(Path(cache_dir) / name, fill)
    return folder / "demo.mp4", folder / "truth.json"


def _write_video(
    rng: np.random.Generator, path: Path, seconds: int, fps: int, size_px: tuple[int, int]
) -> list[list[dict[str, object]]]:
    """Write the video and return the ground truth of each frame."""
    width, height = size_px
    static = static_background(rng, width, height)
    signs = random_crossings(rng, seconds, width, height)
    light, noise = lighting(rng, height, width), sensor_noise(rng, height + 64, width + 64)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size_px)
    if not writer.isOpened():
        raise FGDError("this OpenCV cannot write MPEG-4 video; install opencv-python from PyPI")
    try:
        truth = []
        for index in progress(range(seconds * fps), "rendering demo video frames"):
            canvas = Canvas(static.copy())
            truth.append(paint_frame(canvas, signs, index / fps))
            down, right = rng.integers(64, size=2)  # another crop of one noise field for each frame is cheap
            canvas.image *= light
            writer.write(add_noise(canvas.image, noise[down : down + height, right : right + width]))
    finally:
        writer.release()
    return truth


def paint_frame(canvas: Canvas, signs: list[MovingSign], time_s: float) -> list[dict[str, object]]:
    """Paint the signs that are present at a time, and return the ground truth of that frame as in `truth.json`."""
    present = [(moving, pose) for moving in signs if (pose := moving.pose(time_s))]
    for moving, pose in present:
        canvas.paint(moving.sign, pose, moving.body_bgr, moving.mark_bgr, moving.object_id)
    boxes = [(moving, canvas.box(moving.object_id)) for moving, _ in present if moving.object_id]
    return [{"id": moving.object_id, "class": moving.class_index, "xyxy": box} for moving, box in boxes if box]


def static_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return a static background with clutter."""
    canvas = Canvas(background(rng, height, width))
    for _ in range(6):
        clutter = random_clutter(rng)
        colour = vary_colour(rng, clutter.body_hsv)
        canvas.paint(clutter, random_pose(rng, height, neighbours=[]), colour, colour)
    return canvas.image


def random_crossings(rng: np.random.Generator, seconds: int, width: int, height: int) -> list[MovingSign]:
    """Return random moving signs, every fourth of them clutter, in the order of their depth: the last is in front."""
    entries = np.sort(rng.uniform(_EMPTY_S, max(seconds - 2, _EMPTY_S), size=round(seconds * _CROSSINGS_PER_S)))
    crossings, signs = [], 0
    for index, enters_s in enumerate(entries):
        is_clutter = index % 4 == 3
        class_index = signs % len(SIGNS)
        signs += not is_clutter
        sign = random_clutter(rng) if is_clutter else SIGNS[class_index]
        object_id = 0 if is_clutter else signs
        crossings.append(_random_crossing(rng, sign, object_id, class_index, float(enters_s), width, height))
    return [crossings[i] for i in rng.permutation(len(crossings))]


def _random_crossing(
    rng: np.random.Generator,
    sign: Sign,
    object_id: int,
    class_index: int,
    enters_s: float,
    width: int,
    height: int,
) -> MovingSign:
    sizes = np.exp(rng.uniform(np.log(MIN_SIZE), np.log(MAX_SIZE), size=2)) * height
    low, high = sorted((sizes[0], np.clip(sizes[1], sizes[0] / 2, sizes[0] * 2)))
    ends = (low, high) if rng.random() < 0.5 else (high, low)
    outside = -high / 2, width + high / 2
    left_first = rng.random() < 0.5
    columns = outside if left_first else outside[::-1]
    rows = rng.uniform(0.1, 0.9, size=2) * height
    return MovingSign(
        sign=sign,
        body_bgr=vary_colour(rng, sign.body_hsv),
        mark_bgr=vary_colour(rng, sign.mark_hsv),
        object_id=object_id,
        class_index=class_index,
        enters_s=enters_s,
        duration_s=rng.uniform(4, 9),
        path_px=np.stack([columns, rows], axis=1),
        long_side_px=ends,
        angle=(rng.uniform(0, 2 * np.pi), rng.uniform(-3, 3)),
        sway_px=rng.uniform(0, 0.08) * height,
        width_scale=rng.uniform(0.75, 1.0),
    )
