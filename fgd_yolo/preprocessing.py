"""From a photo to the network's canvas and, for coordinates, back: the host's letterbox to the pixel."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

PADDING = 114


class Placement(NamedTuple):
    """Where a photo lies on a canvas. All sizes are (height, width) in pixels."""

    photo: tuple[int, int]
    canvas: tuple[int, int]
    content: tuple[int, int]
    top: int
    left: int


def place(photo: tuple[int, int], canvas: tuple[int, int], stride: int | None = None) -> Placement:
    """Find the largest centred copy of a photo that fits on a canvas; small photos are enlarged.

    Convention:
        Each side of the copy is rounded to the nearest pixel, halves to the even one, and is at least 1. Of an odd
        number of padding pixels the extra one goes to the bottom or the right.
    Args:
        photo: height and width of the photo.
        canvas: height and width to fit into.
        stride: given, the canvas shrinks until less than one stride of padding is left on each axis.
    """
    gain = min(canvas[0] / photo[0], canvas[1] / photo[1])
    height, width = (max(round(side * gain), 1) for side in photo)
    spare_y, spare_x = canvas[0] - height, canvas[1] - width
    if stride:
        spare_y, spare_x = spare_y % stride, spare_x % stride
    top, left = round(spare_y / 2 - 0.1), round(spare_x / 2 - 0.1)
    return Placement(photo, (height + spare_y, width + spare_x), (height, width), top, left)


def letterbox(image: np.ndarray, placement: Placement, out: np.ndarray | None = None) -> np.ndarray:
    """Paint a photo onto its canvas, grey (114) around it.

    Args:
        image: (H, W, 3) uint8, of the placement's photo size.
        placement: where it goes.
        out: a canvas (height, width, 3) uint8 to paint on; it is made if absent.
    Returns:
        The canvas.
    """
    height, width = placement.content
    bottom, right = placement.top + height, placement.left + width
    canvas = np.empty((*placement.canvas, 3), np.uint8) if out is None else out
    canvas[: placement.top] = PADDING
    canvas[bottom:] = PADDING
    canvas[placement.top : bottom, : placement.left] = PADDING
    canvas[placement.top : bottom, right:] = PADDING
    cv2.resize(
        image,
        (width, height),
        dst=canvas[placement.top : bottom, placement.left : right],
        interpolation=cv2.INTER_LINEAR,
    )
    return canvas


def to_planes(canvas: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write a BGR canvas as RGB planes in [0, 1], equal to the host's to the last bit.

    Three contiguous planes and one division in place: the fastest of the ways tried, and with an exact division
    instead of a product with 1/255. `cv2.dnn.blobFromImage` took over ten times as long.

    Args:
        canvas: (H, W, 3) uint8.
        out: (1, 3, H, W) floating point to write to.
    Returns:
        `out`.
    """
    out[0, 2], out[0, 1], out[0, 0] = cv2.split(canvas)
    return np.divide(out, out.dtype.type(255), out=out)


def to_photo(points: np.ndarray, placement: Placement) -> np.ndarray:
    """Move points from the canvas to the photo, clipped to its border.

    Convention:
        Like the host, the gain and the padding are found again from the two sizes. On a canvas without padding whose
        copy was rounded this may differ from the true ones by a fraction of a canvas pixel.
    Args:
        points: (..., 2) float32, x and y in canvas pixels. A corner pair (..., 2, 2) is two points.
        placement: of the photo.
    Returns:
        As given, in photo pixels: x in [0, width], y in [0, height].
    """
    height, width = placement.photo
    offset, gain = _back(placement)
    return np.clip((points - offset) / gain, np.float32(0), np.array([width, height], np.float32))


def rotated_to_photo(boxes_cxcywhr: np.ndarray, placement: Placement) -> np.ndarray:
    """Move rotated boxes (n, 5) from the canvas to the photo; they may reach over its border, angles are kept."""
    offset, gain = _back(placement)
    centres = (boxes_cxcywhr[:, :2] - offset) / gain
    return np.concatenate([centres, boxes_cxcywhr[:, 2:4] / gain, boxes_cxcywhr[:, 4:]], axis=1)


def _back(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Return the padding before and the gain of the photo, each (x, y)."""
    again = place(placement.photo, placement.canvas)
    gain = again.content[1] / again.photo[1], again.content[0] / again.photo[0]
    return np.array([again.left, again.top], np.float32), np.array(gain, np.float32)
