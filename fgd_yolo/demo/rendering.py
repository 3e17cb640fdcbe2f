"""Render images of signs: paint shapes, note where each is visible, and add background, clutter, lighting and noise."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from fgd_yolo.demo.signs import SIGNS, Contours, Sign, random_clutter, vary_colour

MIN_SIZE, MAX_SIZE = 0.04, 0.6
"""Long side of a sign as a fraction of the shorter image side: log-uniform, so that a third is below 0.1."""
MIN_VISIBLE = 0.3
"""An object of which a smaller fraction is visible, because it is occluded or outside the image, has no box."""
EMPTY_FRACTION = 0.08
MAX_SIGNS = 11
MAX_CLUTTER = 7
_SAMPLES = 4  # per pixel side: edges are smooth, and extents exact to a quarter of a pixel
_SHIFT = 4  # fractional bits of the corners for cv2.fillPoly


class Scene(NamedTuple):
    """A labelled image.

    Convention:
        `image` is (H, W, 3) BGR uint8. `boxes_xyxy` is (M, 4) in pixels as in `Canvas`; M may be 0. `classes` is (M,),
        indices into `signs.NAMES`. `poses` are the M poses. `layers` is (H, W) as in `Canvas`, and `object_layers` (M,)
        the layer of each object: object m is visible where `layers == object_layers[m]`.
    """

    image: np.ndarray
    boxes_xyxy: np.ndarray
    classes: np.ndarray
    poses: tuple[Pose, ...]
    layers: np.ndarray
    object_layers: np.ndarray


def render_scene(rng: np.random.Generator, side_px: int) -> Scene:
    """Render a random scene. The same state of `rng` gives the same bytes.

    Signs and clutter are painted in one random order, so that each can occlude the other. About one scene in twelve has
    clutter only.
    """
    canvas = Canvas(background(rng, side_px, side_px))
    signs = 0 if rng.random() < EMPTY_FRACTION else int(rng.integers(2, MAX_SIGNS + 1))
    object_ids = rng.permutation([*range(1, signs + 1), *[0] * int(rng.integers(1, MAX_CLUTTER + 1))])
    classes, poses = rng.integers(len(SIGNS), size=signs), {}
    for object_id in map(int, object_ids):
        pose = random_pose(rng, side_px, neighbours=list(poses.values()))
        sign = SIGNS[classes[object_id - 1]] if object_id else random_clutter(rng)
        canvas.paint(sign, pose, vary_colour(rng, sign.body_hsv), vary_colour(rng, sign.mark_hsv), object_id)
        if object_id:
            poses[object_id] = pose

    boxes = [canvas.box(object_id) for object_id in range(1, signs + 1)]
    visible = [index for index, box in enumerate(boxes) if box]
    image = add_noise(canvas.image * lighting(rng, side_px, side_px), sensor_noise(rng, side_px, side_px))
    return Scene(
        image=image,
        boxes_xyxy=np.array([boxes[i] for i in visible], dtype=np.float64).reshape(-1, 4),
        classes=classes[visible],
        poses=tuple(poses[i + 1] for i in visible),
        layers=canvas.layers,
        object_layers=1 + np.array([np.flatnonzero(object_ids == i + 1)[0] for i in visible], dtype=np.int32),
    )


class Pose(NamedTuple):
    """Position, size and rotation of a sign.

    Convention:
        `centre_px` is in pixels from the top left corner. `angle` is in radians, clockwise on the screen. `width_scale`
        scales the width before the rotation. `long_side_px` is that of the upright box around the rotated sign.
    """

    centre_px: tuple[float, float]
    long_side_px: float
    angle: float
    width_scale: float


class Placement(NamedTuple):
    """Where the points of a sign are in the image: `points @ matrix * scale + offset_px`, (N, 2) x and y in pixels."""

    matrix: np.ndarray
    scale: float
    offset_px: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix * self.scale + self.offset_px


def place(sign: Sign, pose: Pose) -> Placement:
    """Return the placement of a sign: its points are rotated, then scaled and centred by the box of its body."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    matrix = np.array([[cos, sin], [-sin, cos]]) * np.array([[pose.width_scale], [1.0]])
    corners = np.concatenate([contour @ matrix for contour in sign.body])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = pose.long_side_px / (high - low).max()
    return Placement(matrix, scale, np.asarray(pose.centre_px) - (low + high) / 2 * scale)


class Canvas:
    """An image that is being painted, with the visible object of each pixel.

    Convention:
        `image` is (H, W, 3) BGR float32 in [0, 255]. `object_ids` is (H, W) int32, 0 for background and clutter.
        `layers` is (H, W) int32: the number of the visible shape in the order of painting, clutter included, from 1; 0
        is background. Boxes are (left, top, right, bottom) in pixels, edges not centres: the box of the top left pixel
        is (0, 0, 1, 1). They enclose the visible part: every pixel that the object covers at least by half and that is
        not occluded.
    """

    def __init__(self, background: np.ndarray):
        self.image = background
        self.object_ids = np.zeros(background.shape[:2], dtype=np.int32)
        self.layers = np.zeros(background.shape[:2], dtype=np.int32)
        self._painted = 0
        self._area: dict[int, int] = {}

    def paint(self, sign: Sign, pose: Pose, body_bgr: np.ndarray, mark_bgr: np.ndarray, object_id: int = 0) -> None:
        """Paint a sign over the current image."""
        placement = place(sign, pose)
        body, mark = (tuple(map(placement, contours)) for contours in (sign.body, sign.mark))
        self._painted += 1
        corners = np.concatenate(body)
        origin = np.floor(corners.min(axis=0)).astype(int) - 1
        width, height = np.ceil(corners.max(axis=0)).astype(int) + 1 - origin
        cover = _coverage(body, origin, width, height)
        if object_id:
            self._area[object_id] = int((cover >= 0.5).sum())

        left, top = np.maximum(origin, 0)
        right, bottom = np.minimum(origin + np.array([width, height]), self.object_ids.shape[::-1])
        if left >= right or top >= bottom:
            return
        inside = np.s_[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
        region = np.s_[top:bottom, left:right]
        colour = body_bgr
        if mark:
            mark_cover = _coverage(mark, origin, width, height)[inside][..., None]
            colour = body_bgr + mark_cover * (mark_bgr - body_bgr)
        cover = cover[inside]
        self.image[region] += cover[..., None] * (colour - self.image[region])
        self.object_ids[region][cover >= 0.5] = object_id
        self.layers[region][cover >= 0.5] = self._painted

    def box(self, object_id: int) -> tuple[int, int, int, int] | None:
        """Return the box of the visible part of an object, or None if less than `MIN_VISIBLE` of it is visible."""
        visible = (self.object_ids == object_id).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(visible)
        visible_px = cv2.countNonZero(visible[top : top + height, left : left + width])
        if visible_px < max(MIN_VISIBLE * self._area[object_id], 1):
            return None
        return left, top, left + width, top + height


def _coverage(contours: Contours, origin: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the fraction of each pixel of a patch inside the contours, (height, width) float32 in [0, 1]."""
    fine = np.zeros((height * _SAMPLES, width * _SAMPLES), dtype=np.uint8)
    corners = [((contour - origin) * _SAMPLES - 0.5) * (1 << _SHIFT) for contour in contours]
    cv2.fillPoly(fine, [np.rint(points).astype(np.int32) for points in corners], 255, shift=_SHIFT)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def random_pose(rng: np.random.Generator, side_px: int, neighbours: list[Pose]) -> Pose:
    """Return a random pose; one in four is close to an earlier sign, and may overlap it."""
    fraction = float(np.exp(rng.uniform(np.log(MIN_SIZE), np.log(MAX_SIZE))))
    margin = 0.35 * fraction  # at most about a sixth of a sign is outside each border
    x, y = rng.uniform(margin, 1 - margin, size=2) * side_px
    if neighbours and rng.random() < 0.25:
        neighbour = neighbours[rng.integers(len(neighbours))]
        reach, direction = 0.5 * (neighbour.long_side_px + fraction * side_px), rng.uniform(0, 2 * np.pi)
        x, y = np.add(neighbour.centre_px, 0.75 * reach * np.array([np.cos(direction), np.sin(direction)]))
        x, y = np.clip([x, y], margin * side_px, (1 - margin) * side_px)
    return Pose((float(x), float(y)), fraction * side_px, rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0))


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return muted, cloudy colours, half of them with stripes or tiles, (height, width, 3) float32 in [0, 255]."""
    base = rng.uniform(50, 190) + rng.uniform(-25, 25, size=3)
    clouds = np.full((40, 40, 3), base, dtype=np.float32)
    for cells, strength in ((3, 28), (9, 14), (40, 9)):  # summed before they are enlarged, which takes most of the time
        cloud = rng.standard_normal((cells, cells, 3), dtype=np.float32) * np.float32(0.4)
        cloud += rng.standard_normal((cells, cells, 1), dtype=np.float32)
        clouds += cv2.resize(cloud, (40, 40), interpolation=cv2.INTER_CUBIC) * strength
    image = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        rows, columns = np.ogrid[:height, :width]
        angle, frequency = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(6, 60)
        down, right = frequency * np.cos(angle), frequency * np.sin(angle)
        wave = np.sin((rows * down + columns * right).astype(np.float32))
        if rng.random() < 0.5:
            wave = np.maximum(wave, np.sin((columns * down - rows * right).astype(np.float32)))
        image += wave[..., None] * np.float32(rng.uniform(4, 16))
    return np.clip(image, 10, 245, out=image)


def lighting(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a brightness gradient with a tint, (height, width, 3) factors from 0.5 to 1.3."""
    corners = rng.uniform(0.55, 1.2, size=(2, 2, 1)) * rng.uniform(0.93, 1.07, size=3)
    return cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def sensor_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return the noise of one camera, (height, width, 3) float32, with a standard deviation of 2 to 9 grey levels."""
    # The sum of two uniform values is close to normal and four times as fast; its deviation is 104.5.
    uniform = np.frombuffer(rng.bytes(height * width * 6), dtype=np.uint8).reshape(2, height, width, 3)
    total = cv2.add(uniform[0], uniform[1], dtype=cv2.CV_32F)
    return (total - 255) * np.float32(rng.uniform(2, 9) / 104.5)


def add_noise(image: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Add noise to a float image and round it to uint8."""
    return cv2.add(image, noise, dtype=cv2.CV_8U)
