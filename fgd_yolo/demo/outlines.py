"""The outline of a mask as the single polygon that a YOLO segment label holds."""

from __future__ import annotations

import cv2
import numpy as np

_INSET_PX = 0.02
"""The outline is this far within the edges of the pixels: rounded down, its corners are pixels of the mask."""


def mask_outline(mask: np.ndarray) -> np.ndarray:
    """Return one polygon around all pixels of a mask.

    A label has one polygon per object, so holes and separate parts are joined by bridges of width zero. OpenCV's
    `fillPoly`, by which Ultralytics draws the mask, paints boundaries as well, so a bridge between two parts becomes a
    line of pixels. A part that has fewer pixels than its bridge is left out, which gives the more accurate mask.

    Convention:
        Corners are (x, y) in pixels, edges not centres: the polygon of the top left pixel is the square from 0 to 1,
        0.02 pixels smaller on each side. Hence `fillPoly` on the corners rounded down gives the mask back, except for
        bridges and parts left out.
    Args:
        mask: (H, W) bool, at least one pixel.
    Returns:
        (N, 2) float64 corners, N >= 4.
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    patch = mask[top : top + height, left : left + width].astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(patch, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = [_part_outline(labels == 1 + part) for part in np.argsort(-areas, kind="stable")]
    outline = _without_straight_corners(_join(parts, np.sort(areas)[::-1]))
    pixels, second_half = np.divmod(outline, 2)
    return pixels + np.where(second_half, 1 - _INSET_PX, _INSET_PX) + (left, top)


def _part_outline(part: np.ndarray) -> np.ndarray:
    """Return the outline of a connected part with its holes, (N, 2) int in half pixels."""
    halves = np.kron(part.astype(np.uint8), np.ones((2, 2), dtype=np.uint8))
    contours, hierarchy = cv2.findContours(halves, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    order = np.argsort(hierarchy[0, :, 3] >= 0, kind="stable")  # the outer contour, then the holes
    outlines = [contours[index].reshape(-1, 2) for index in order]
    return _join(outlines, np.full(len(outlines), np.inf))


def _join(outlines: list[np.ndarray], areas_px: np.ndarray) -> np.ndarray:
    """Join outlines to the first one, the nearest first, each by a bridge between the two nearest corners.

    Args:
        outlines: each (N, 2) int in half pixels.
        areas_px: for each outline the pixels that it adds; outlines smaller than their bridge are left out.
    """
    joined, remaining = outlines[0], list(range(1, len(outlines)))
    while remaining:
        bridges = {index: _nearest_corners(joined, outlines[index]) for index in remaining}
        index = min(bridges, key=lambda index: bridges[index][2])
        start, end, length_px = bridges[index]
        remaining.remove(index)
        if areas_px[index] > length_px:
            there_and_back = np.roll(outlines[index], -end, axis=0), outlines[index][end : end + 1]
            joined = np.concatenate([joined[: start + 1], *there_and_back, joined[start:]])
    return joined


def _nearest_corners(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Return the indices of the two nearest corners, and the pixels between them."""
    apart = np.square(first[:, None] - second[None]).sum(axis=2)
    start, end = np.unravel_index(apart.argmin(), apart.shape)
    drawn = np.abs(first[start] - second[end]).max()  # a line has as many pixels as the longer of its two sides
    return int(start), int(end), drawn / 2


def _without_straight_corners(outline: np.ndarray) -> np.ndarray:
    """Return the outline without the corners at which it does not turn."""
    arriving, leaving = outline - np.roll(outline, 1, axis=0), np.roll(outline, -1, axis=0) - outline
    return outline[(arriving != leaving).any(axis=1)]
