"""Object masks in photo pixels from a segmentation network's prototypes."""

from __future__ import annotations

import cv2
import numpy as np

from fgd_yolo.preprocessing import Placement, place

PROTOTYPE_STRIDE = 4  # canvas pixels per prototype pixel


def photo_masks(
    prototypes: np.ndarray, coefficients: np.ndarray, boxes: np.ndarray, placement: Placement
) -> np.ndarray:
    """Mix the prototypes of each object, cut the padding off, enlarge to the photo, keep what is inside its box.

    The host's `retina_masks=True`: its default makes masks of the canvas instead, which is not what a photo needs.

    Convention:
        A pixel belongs to a box if x1 <= x < x2 and y1 <= y < y2, in whole pixels.
    Args:
        prototypes: (k, h, w) float32.
        coefficients: (n, k) float32.
        boxes: (n, 4) corners in photo pixels.
        placement: of the photo.
    Returns:
        (n, H, W) bool, the photo's size: one byte per pixel and object.
    """
    k, height, width = prototypes.shape
    logits = (coefficients @ prototypes.reshape(k, -1)).reshape(-1, height, width)
    factor = _factor(placement.image, (height, width))
    inside = place(placement.image, (height * factor, width * factor))
    rows = slice(inside.top, inside.top + inside.content[0])
    columns = slice(inside.left, inside.left + inside.content[1])
    masks = np.zeros((len(logits), *placement.image), bool)
    for mask, logit, (x1, y1, x2, y2) in zip(masks, logits, np.ceil(boxes).astype(int), strict=True):
        enlarged = cv2.resize(logit, (width * factor, height * factor)) if factor > 1 else logit
        whole = cv2.resize(enlarged[rows, columns], placement.image[::-1])
        mask[y1:y2, x1:x2] = whole[y1:y2, x1:x2] > 0
    return masks


def _factor(photo: tuple[int, int], prototype: tuple[int, int]) -> int:
    """Return the smallest of 1, 2, 4 by which prototypes must grow for the padding to end on whole pixels."""
    canvas = prototype[0] * PROTOTYPE_STRIDE, prototype[1] * PROTOTYPE_STRIDE
    content = place(photo, canvas).content
    spare = [outer - inner for outer, inner in zip(canvas, content, strict=True)]
    # Half of the spare pixels lie on each side, and a grown prototype pixel covers 4 / factor of them.
    whole = [factor for factor in (1, 2) if all(pixels % (2 * PROTOTYPE_STRIDE // factor) == 0 for pixels in spare)]
    return whole[0] if whole else PROTOTYPE_STRIDE
