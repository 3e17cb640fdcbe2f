"""Putting one sign into a picture, with a record of which pixels it owns."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from fgd_yolo.demo.signs import Contours, Sign

MIN_VISIBLE = 0.3
"""An object of which a smaller share can be seen, be it hidden or outside the picture, has no box."""

_FINE = 4  # every pixel is 4 x 4 samples, so that edges are smooth and extents exact to a quarter of a pixel
_SHIFT = 4  # cv2.fillPoly takes fixed-point corners


class Pose(NamedTuple):
    """Where a sign stands.

    Convention:
        Pixels from the top left corner; the angle in radians, clockwise as seen; `squash` shrinks sideways
        before the turn; `long_side_px` belongs to the upright box around the turned sign.
    """

    centre_px: tuple[float, float]
    long_side_px: float
    angle: float
    squash: float


def place(sign: Sign, pose: Pose) -> tuple[Contours, Contours]:
    """Body and mark contours in pixels: squashed, turned, then sized and centred by the body's box."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    matrix = np.array([[cos, sin], [-sin, cos]]) * np.array([[pose.squash], [1.0]])
    body = [contour @ matrix for contour in sign.body]
    corners = np.concatenate(body)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = pose.long_side_px / (high - low).max()
    offset = np.asarray(pose.centre_px) - (low + high) / 2 * scale
    mark = [contour @ matrix for contour in sign.mark]
    return tuple(contour * scale + offset for contour in body), tuple(contour * scale + offset for contour in mark)


class Canvas:
    """A picture under construction and, for each pixel, the object that is seen there.

    Convention:
        `image` is (H, W, 3) float32, blue, green, red in [0, 255]. `owner` is (H, W) int32: 0 for background
        and clutter. Boxes are (left, top, right, bottom) in pixels, edges not centres: a box around the top
        left pixel is (0, 0, 1, 1). They enclose what can be *seen*: every pixel that the object covers by
        half or more and nothing hides.
    """

    def __init__(self, background: np.ndarray):
        self.image = background
        self.owner = np.zeros(background.shape[:2], dtype=np.int32)
        self._area: dict[int, int] = {}

    def paint(self, sign: Sign, pose: Pose, body_bgr: np.ndarray, mark_bgr: np.ndarray, owner: int = 0) -> None:
        """Paint a sign over everything that is already there."""
        body, mark = place(sign, pose)
        corners = np.concatenate(body)
        origin = np.floor(corners.min(axis=0)).astype(int) - 1
        width, height = np.ceil(corners.max(axis=0)).astype(int) + 1 - origin
        cover = _coverage(body, origin, width, height)
        if owner:
            self._area[owner] = int((cover >= 0.5).sum())

        left, top = np.maximum(origin, 0)
        right, bottom = np.minimum(origin + np.array([width, height]), self.owner.shape[::-1])
        if left >= right or top >= bottom:
            return
        inside = np.s_[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
        region = np.s_[top:bottom, left:right]
        colour = body_bgr
        if mark:
            share = _coverage(mark, origin, width, height)[inside][..., None]
            colour = body_bgr + share * (mark_bgr - body_bgr)
        cover = cover[inside]
        self.image[region] += cover[..., None] * (colour - self.image[region])
        self.owner[region][cover >= 0.5] = owner

    def box(self, owner: int) -> tuple[int, int, int, int] | None:
        """The box around what can be seen of an object, None where that is less than `MIN_VISIBLE` of it."""
        seen = (self.owner == owner).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(seen)
        if cv2.countNonZero(seen[top : top + height, left : left + width]) < max(MIN_VISIBLE * self._area[owner], 1):
            return None
        return left, top, left + width, top + height


def _coverage(contours: Contours, origin: np.ndarray, width: int, height: int) -> np.ndarray:
    """How much of each pixel of a patch the contours cover, (height, width) float32 in [0, 1]."""
    fine = np.zeros((height * _FINE, width * _FINE), dtype=np.uint8)
    corners = [((contour - origin) * _FINE - 0.5) * (1 << _SHIFT) for contour in contours]
    cv2.fillPoly(fine, [np.rint(points).astype(np.int32) for points in corners], 255, shift=_SHIFT)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
