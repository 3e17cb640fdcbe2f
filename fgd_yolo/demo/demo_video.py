"""A video of signs that cross the picture, with the truth for every frame."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fgd_yolo.console import progress
from fgd_yolo.demo.cache import make_folder
from fgd_yolo.demo.paint import Canvas, Pose
from fgd_yolo.demo.scene import LARGEST, SMALLEST, background, expose, grain, light, random_pose
from fgd_yolo.demo.signs import NAMES, SIGNS, Sign, random_clutter, vary
from fgd_yolo.errors import FGDError
from fgd_yolo.strict_json import to_json

FORMAT = 1
"""Part of the cached folder's name: raise it when the same seed gives other files."""

_STREAM = 2  # the pictures of the data set use 0 and 1
_CROSSINGS_PER_S = 1.2
_QUIET_S = 1.0  # nothing enters before, so that the video begins with empty frames


class Actor(NamedTuple):
    """One thing that enters the picture, crosses it once and leaves; `owner` is its id, 0 for clutter."""

    sign: Sign
    body_bgr: np.ndarray
    mark_bgr: np.ndarray
    owner: int
    class_index: int
    enters_s: float
    stays_s: float
    path_px: np.ndarray  # (2, 2): from, to
    long_side_px: tuple[float, float]  # at both ends: things come nearer or go away
    angle: tuple[float, float]
    sway_px: float
    squash: float

    def pose(self, time_s: float) -> Pose | None:
        """Where it is, None while it is away."""
        progress = (time_s - self.enters_s) / self.stays_s
        if not 0 <= progress <= 1:
            return None
        start, end = self.path_px
        x, y = start + progress * (end - start)
        y += self.sway_px * np.sin(progress * 4 * np.pi)
        near, far = self.long_side_px
        return Pose((x, y), near * (far / near) ** progress, self.angle[0] + self.angle[1] * progress, self.squash)


def demo_video(
    cache_dir: Path,
    *,
    seconds: int = 30,
    fps: int = 25,
    width_px: int = 640,
    height_px: int = 480,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Render the demo video and its truth on first use.

    Signs of all classes cross a still background with clutter on it, turn, come nearer, hide each other and
    leave for good; other clutter moves with them. The first second shows nothing to find.

    Convention:
        `truth.json` holds fps, width_px, height_px, names, and frames: for each frame a list of
        `{"id": int, "class": int, "xyxy": [left, top, right, bottom]}` in pixels. An id belongs to one
        crossing and is never used again. A box encloses what can be *seen*; while less than 30 % of a sign is
        visible it has none.
    Returns:
        `demo.mp4` (MPEG-4 part 2) and `truth.json`.
    Raises:
        FGDError: the folder cannot be written, or this OpenCV has no MPEG-4 encoder.
    """
    name = f"demo-video-v{FORMAT}-{seconds}s-{fps}fps-{width_px}x{height_px}-seed{seed}"

    def fill(folder: Path) -> None:
        rng = np.random.default_rng([seed, _STREAM])
        frames = _film(rng, folder / "demo.mp4", seconds, fps, (width_px, height_px))
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


def _film(
    rng: np.random.Generator, path: Path, seconds: int, fps: int, size_px: tuple[int, int]
) -> list[list[dict[str, object]]]:
    """Write the video and return the truth of each frame."""
    width, height = size_px
    stage = paint_stage(rng, width, height)
    actors = draw_cast(rng, seconds, width, height)
    lamp, noise = light(rng, height, width), grain(rng, height + 64, width + 64)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size_px)
    if not writer.isOpened():
        raise FGDError("this OpenCV cannot write MPEG-4 video; install opencv-python from PyPI")
    try:
        truth = []
        for index in progress(range(seconds * fps), "rendering demo video frames"):
            canvas = Canvas(stage.copy())
            truth.append(paint_frame(canvas, actors, index / fps))
            down, right = rng.integers(64, size=2)  # a new cut of one noise field costs nothing and never stands still
            canvas.image *= lamp
            writer.write(expose(canvas.image, noise[down : down + height, right : right + width]))
    finally:
        writer.release()
    return truth


def paint_frame(canvas: Canvas, actors: list[Actor], time_s: float) -> list[dict[str, object]]:
    """Paint everyone who is there at a time, and return the truth of that frame as in `truth.json`."""
    present = [(actor, pose) for actor in actors if (pose := actor.pose(time_s))]
    for actor, pose in present:
        canvas.paint(actor.sign, pose, actor.body_bgr, actor.mark_bgr, actor.owner)
    boxes = [(actor, canvas.box(actor.owner)) for actor, _ in present if actor.owner]
    return [{"id": actor.owner, "class": actor.class_index, "xyxy": box} for actor, box in boxes if box]


def paint_stage(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """The still background with clutter on it."""
    canvas = Canvas(background(rng, height, width))
    for _ in range(6):
        clutter = random_clutter(rng)
        colour = vary(rng, clutter.body_hsv)
        canvas.paint(clutter, random_pose(rng, height, neighbours=[]), colour, colour)
    return canvas.image


def draw_cast(rng: np.random.Generator, seconds: int, width: int, height: int) -> list[Actor]:
    """Who crosses when. Every fourth is clutter; the order is the depth, the last stands in front."""
    entries = np.sort(rng.uniform(_QUIET_S, max(seconds - 2, _QUIET_S), size=round(seconds * _CROSSINGS_PER_S)))
    actors, signs = [], 0
    for index, enters_s in enumerate(entries):
        is_clutter = index % 4 == 3
        class_index = signs % len(SIGNS)
        signs += not is_clutter
        sign = random_clutter(rng) if is_clutter else SIGNS[class_index]
        owner = 0 if is_clutter else signs
        actors.append(_actor(rng, sign, owner, class_index, float(enters_s), width, height))
    return [actors[i] for i in rng.permutation(len(actors))]


def _actor(
    rng: np.random.Generator,
    sign: Sign,
    owner: int,
    class_index: int,
    enters_s: float,
    width: int,
    height: int,
) -> Actor:
    sizes = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST), size=2)) * height
    low, high = sorted((sizes[0], np.clip(sizes[1], sizes[0] / 2, sizes[0] * 2)))
    ends = (low, high) if rng.random() < 0.5 else (high, low)
    outside = -high / 2, width + high / 2
    left_first = rng.random() < 0.5
    columns = outside if left_first else outside[::-1]
    rows = rng.uniform(0.1, 0.9, size=2) * height
    return Actor(
        sign=sign,
        body_bgr=vary(rng, sign.body_hsv),
        mark_bgr=vary(rng, sign.mark_hsv),
        owner=owner,
        class_index=class_index,
        enters_s=enters_s,
        stays_s=rng.uniform(4, 9),
        path_px=np.stack([columns, rows], axis=1),
        long_side_px=ends,
        angle=(rng.uniform(0, 2 * np.pi), rng.uniform(-3, 3)),
        sway_px=rng.uniform(0, 0.08) * height,
        squash=rng.uniform(0.75, 1.0),
    )
