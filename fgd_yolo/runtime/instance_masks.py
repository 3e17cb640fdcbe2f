"""Instance masks in image pixels from the prototypes of a segmentation network."""

from __future__ import annotations

import cv2
import numpy as np

from fgd_yolo.preprocessing import Placement, place

PROTOTYPE_STRIDE = 4  # canvas pixels per prototype pixel


def instance_masks(
    prototypes: np.ndarray, coefficients: np.ndarray, boxes: np.ndarray, placement: Placement
) -> np.ndarray:
    """Combine the prototypes of each object, crop the padding, resize to the image, and crop to the box.

    Equal to Ultralytics' `retina_masks=True`; its default makes masks of the canvas instead.

    Convention:
        A pixel is inside a box if x1 <= x < x2 and y1 <= y < y2, in integer pixels.
    Args:
        prototypes: (k, h, w) float32.
        coefficients: (n, k) float32.
        boxes: (n, 4) corners in image pixels.
        placement: placement of the image on the canvas.
    Returns:
        (n, H, W) bool, of the size of the image: one byte per pixel and object.
    """
    k, height, width = prototypes.shape
    logits = (coefficients @ prototypes.reshape(k, -1)).reshape(-1, height, width)
    factor = _enlargement(placement.image, (height, width))
    inside = place(placement.image, (height * factor, width * factor))
    rows = slice(inside.top, inside.top + inside.content[0])
    columns = slice(inside.left, inside.left + inside.content[1])
    masks = np.zeros((len(logits), *placement.image), bool)
    for mask, logit, (x1, y1, x2, y2) in zip(masks, logits, np.ceil(boxes).astype(int), strict=True):
        enlarged = cv2.resize(logit, (width * factor, height * factor)) if factor > 1 else logit
        resized = cv2.resize(enlarged[rows, columns], placement.image[::-1])
        mask[y1:y2, x1:x2] = resized[y1:y2, x1:x2] > 0
    return masks


def _enlargement(image: tuple[int, int], prototype: tuple[int, int]) -> int:
    """Return the smallest of 1, 2, 4 by which prototypes must be enlarged for the padding to have integer pixels."""
    canvas = prototype[0] * PROTOTYPE_STRIDE, prototype[1] * PROTOTYPE_STRIDE
    content = place(image, canvas).content
    padding = [outer - inner for outer, inner in zip(canvas, content, strict=True)]
    # Half of the padding is on each side, and a pixel of an enlarged prototype covers 4 / factor of its pixels.
    factors = [factor for factor in (1, 2) if all(pixels % (2 * PROTOTYPE_STRIDE // factor) == 0 for pixels in padding)]
    return factors[0] if factors else PROTOTYPE_STRIDE
