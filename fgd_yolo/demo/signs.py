"""Shapes, colours and keypoints of the six labelled signs, and the unlabelled clutter."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np

Contours = tuple[np.ndarray, ...]
Point = tuple[float, float]


class Sign(NamedTuple):
    """A flat shape: its body, the mark painted on it, the base colours of both, and its keypoints.

    Convention:
        Contours are (N, 2) float arrays of x to the right and y down, around the origin, with a radius of about 1;
        where contours of one tuple overlap, there is a hole. Colours are (hue in degrees, saturation, value), the
        last two in [0, 1]. `keypoints` is (6, 2) in the order of `KEYPOINTS`, or None. `symmetry` is how many rotations
        within one turn leave the keypoints where they are, so that only their names tell them apart.
    """

    name: str
    body: Contours
    mark: Contours
    body_hsv: tuple[float, float, float]
    mark_hsv: tuple[float, float, float]
    keypoints: np.ndarray | None = None
    symmetry: int = 1


KEYPOINTS = ("outer_left", "outer_right", "inner_left", "inner_right", "top", "bottom")
"""Names of the keypoints, seen with the sign upright; the uppermost of a sign's equal ends counts as its top."""
MIRRORED_KEYPOINTS = (1, 0, 3, 2, 4, 5)
"""The index of each keypoint's counterpart in the mirrored image."""


def _regular_polygon(corners: int, radius: float = 1.0) -> np.ndarray:
    angles = np.arange(corners) * (2 * np.pi / corners) - np.pi / 2
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _plus(arm: float) -> np.ndarray:
    """Return a cross of radius 1 whose arms are 2 * `arm` wide."""
    quarter = np.array([[arm, -arm], [arm, -1.0], [-arm, -1.0]])
    rotations = [np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in -np.arange(4) * np.pi / 2]
    return np.concatenate([quarter @ rotation for rotation in rotations])


def _checks(cells: int) -> Contours:
    """Return every second cell of a square board with sides of 2."""
    step = 2 / cells
    return tuple(
        _rectangle(-1 + column * step, -1 + row * step, -1 + (column + 1) * step, -1 + (row + 1) * step)
        for row in range(cells)
        for column in range(cells)
        if (row + column) % 2 == 0
    )


_EXCLAMATION = (_rectangle(-0.11, -0.5, 0.11, 0.12), _rectangle(-0.11, 0.22, 0.11, 0.4))
_TWO_BARS = (_rectangle(-0.62, -0.7, -0.2, 0.7), _rectangle(0.2, -0.7, 0.62, 0.7))
_WHITE, _BLACK = (0.0, 0.03, 0.95), (0.0, 0.1, 0.08)


def _mirrored(outer_left: Point, inner_left: Point, top: float, bottom: float) -> np.ndarray:
    """Return six keypoints: the left ones, their mirror images, and two on the vertical axis."""
    (outer_x, outer_y), (inner_x, inner_y) = outer_left, inner_left
    left_and_right = [[outer_x, outer_y], [-outer_x, outer_y], [inner_x, inner_y], [-inner_x, inner_y]]
    return np.array([*left_and_right, [0, top], [0, bottom]])


_TRIANGLE_POINTS = _mirrored((-np.sqrt(0.75), 0.5), (-np.sqrt(0.1875), -0.25), -1.0, 0.5)  # corners, middles of sides
_SQUARE_POINTS = _mirrored((-1.0, -1.0), (-1.0, 1.0), -1.0, 1.0)  # corners, and the ends between the bars
_CROSS_POINTS = _mirrored((-1.0, 0.0), (-0.36, -0.36), -1.0, 1.0)  # ends of the arms, and the upper inner corners

SIGNS = (
    Sign("disc", (_regular_polygon(48),), (_rectangle(-0.68, -0.2, 0.68, 0.2),), (2, 0.88, 0.82), _WHITE),
    Sign("triangle", (_regular_polygon(3),), _EXCLAMATION, (50, 0.9, 0.95), _BLACK, _TRIANGLE_POINTS, symmetry=3),
    Sign("square", (_rectangle(-1, -1, 1, 1),), _TWO_BARS, (218, 0.85, 0.8), _WHITE, _SQUARE_POINTS, symmetry=2),
    Sign("ring", (_regular_polygon(48), _regular_polygon(48, 0.55)), (), (128, 0.8, 0.68), _WHITE),
    Sign("checker", (_rectangle(-1, -1, 1, 1),), _checks(3), _WHITE, _BLACK),
    Sign("cross", (_plus(0.36),), (_regular_polygon(4, 0.3),), (312, 0.75, 0.8), _WHITE, _CROSS_POINTS, symmetry=4),
)  # fmt: skip

NAMES = tuple(sign.name for sign in SIGNS)

_CLUTTER_BODIES = (
    _regular_polygon(48) * [1.0, 0.45],
    _regular_polygon(6) * [1.0, 0.7],
    _regular_polygon(48)[12:37],  # half a disc
    np.array([[-1.0, -0.4], [1.0, -0.7], [0.7, 0.5], [-0.6, 0.6]]),
)
_CLUTTER_HSV = (
    (25, 0.6, 0.45),
    (182, 0.55, 0.6),
    (85, 0.4, 0.4),
    (265, 0.35, 0.5),
    (0, 0.0, 0.5),
    (18, 0.35, 0.75),
)


def random_clutter(rng: np.random.Generator) -> Sign:
    """Return an unlabelled shape: another form and colour, or a thin bar, which may have the colour of a sign."""
    colours = _CLUTTER_HSV
    if rng.random() < 0.4:
        half_width = rng.uniform(0.07, 0.16)
        body = _rectangle(-1, -half_width, 1, half_width)
        colours += tuple(sign.body_hsv for sign in SIGNS)
    else:
        body = _CLUTTER_BODIES[rng.integers(len(_CLUTTER_BODIES))]
    hsv = colours[rng.integers(len(colours))]
    return Sign("clutter", (body,), (), hsv, hsv)


def vary_colour(rng: np.random.Generator, hsv: tuple[float, float, float]) -> np.ndarray:
    """Return a random BGR colour in [0, 255] near an HSV colour."""
    hue, saturation, value = hsv
    hue = (hue + rng.uniform(-9, 9)) % 360 / 360
    saturation = np.clip(saturation * rng.uniform(0.75, 1.1), 0, 1)
    value = np.clip(value * rng.uniform(0.8, 1.1), 0, 1)
    red, green, blue = colorsys.hsv_to_rgb(hue, float(saturation), float(value))
    return np.array([blue, green, red], dtype=np.float32) * 255
