"""One labelled demo picture: background, clutter, signs, light and noise."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from fgd_yolo.demo.paint import Canvas, Pose
from fgd_yolo.demo.signs import SIGNS, random_clutter, vary

SMALLEST, LARGEST = 0.04, 0.6
"""Long side of a sign over the picture's shorter side: log-uniform between, so that a third is below 0.1."""

EMPTY_SHARE = 0.08
MAX_SIGNS = 11
MAX_CLUTTER = 7


class Scene(NamedTuple):
    """A picture and what is in it.

    Convention:
        `image` is (H, W, 3) uint8, blue, green, red. `boxes_xyxy` is (M, 4) in pixels as in `Canvas`; M may
        be 0. `classes` is (M,), indices into `signs.NAMES`.
    """

    image: np.ndarray
    boxes_xyxy: np.ndarray
    classes: np.ndarray


def render_scene(rng: np.random.Generator, side_px: int) -> Scene:
    """Draw one random scene; everything comes from `rng`, so the same generator state gives the same bytes.

    Clutter and signs are painted in one random order, so that each can hide parts of the other. About one
    scene in twelve holds clutter alone.
    """
    canvas = Canvas(background(rng, side_px, side_px))
    signs = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(2, MAX_SIGNS + 1))
    owners = rng.permutation([*range(1, signs + 1), *[0] * int(rng.integers(1, MAX_CLUTTER + 1))])
    classes, poses = rng.integers(len(SIGNS), size=signs), []
    for owner in map(int, owners):
        pose = random_pose(rng, side_px, neighbours=poses)
        sign = SIGNS[classes[owner - 1]] if owner else random_clutter(rng)
        canvas.paint(sign, pose, vary(rng, sign.body_hsv), vary(rng, sign.mark_hsv), owner)
        if owner:
            poses.append(pose)

    boxes = [canvas.box(owner) for owner in range(1, signs + 1)]
    seen = [index for index, box in enumerate(boxes) if box]
    image = expose(canvas.image * light(rng, side_px, side_px), grain(rng, side_px, side_px))
    return Scene(image, np.array([boxes[i] for i in seen], dtype=np.float64).reshape(-1, 4), classes[seen])


def random_pose(rng: np.random.Generator, side_px: int, neighbours: list[Pose]) -> Pose:
    """Any size, turn and place; one in four stands close to an earlier sign, which makes the overlaps."""
    fraction = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    margin = 0.35 * fraction  # at most about a sixth of a sign is cut off by each border
    x, y = rng.uniform(margin, 1 - margin, size=2) * side_px
    if neighbours and rng.random() < 0.25:
        near = neighbours[rng.integers(len(neighbours))]
        reach, direction = 0.5 * (near.long_side_px + fraction * side_px), rng.uniform(0, 2 * np.pi)
        x, y = np.add(near.centre_px, 0.75 * reach * np.array([np.cos(direction), np.sin(direction)]))
        x, y = np.clip([x, y], margin * side_px, (1 - margin) * side_px)
    return Pose((float(x), float(y)), fraction * side_px, rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0))


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Muted cloudy colours with stripes or tiles over them, (height, width, 3) float32 in [0, 255]."""
    base = rng.uniform(50, 190) + rng.uniform(-25, 25, size=3)
    clouds = np.full((40, 40, 3), base, dtype=np.float32)
    for cells, strength in ((3, 28), (9, 14), (40, 9)):  # summed while small: enlarging is what takes time
        cloud = rng.standard_normal((cells, cells, 3), dtype=np.float32) * np.float32(0.4)
        cloud += rng.standard_normal((cells, cells, 1), dtype=np.float32)
        clouds += cv2.resize(cloud, (40, 40), interpolation=cv2.INTER_CUBIC) * strength
    picture = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        rows, columns = np.ogrid[:height, :width]
        turn, pace = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(6, 60)
        down, right = pace * np.cos(turn), pace * np.sin(turn)
        wave = np.sin((rows * down + columns * right).astype(np.float32))
        if rng.random() < 0.5:
            wave = np.maximum(wave, np.sin((columns * down - rows * right).astype(np.float32)))
        picture += wave[..., None] * np.float32(rng.uniform(4, 16))
    return np.clip(picture, 10, 245, out=picture)


def light(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Brightness that changes across the picture, with a tint: (height, width, 3) factors, 0.5 to 1.3."""
    corners = rng.uniform(0.55, 1.2, size=(2, 2, 1)) * rng.uniform(0.93, 1.07, size=3)
    return cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sensor noise of one camera, (height, width, 3) float32 with a deviation of 2 to 9 grey levels."""
    # The sum of two dice is close to normal and four times as fast; 104.5 is its deviation.
    dice = np.frombuffer(rng.bytes(height * width * 6), dtype=np.uint8).reshape(2, height, width, 3)
    total = cv2.add(dice[0], dice[1], dtype=cv2.CV_32F)
    return (total - 255) * np.float32(rng.uniform(2, 9) / 104.5)


def expose(radiance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Round light and noise to 8 bits."""
    return cv2.add(radiance, noise, dtype=cv2.CV_8U)
