"""Non-maximum suppression with the same results as Ultralytics: by OpenCV for upright boxes, here for rotated ones."""

from __future__ import annotations

import cv2
import numpy as np

DEFAULT_CONFIDENCE, DEFAULT_IOU = 0.25, 0.7
"""Ultralytics' thresholds for predictions, which NMS embedded in an exported file has too."""
# The constants of Ultralytics. Boxes are shifted by the offset for each class, so that classes never overlap.
CLASS_OFFSET_PX = 7680
MAX_CANDIDATES = 30_000
_FAR_PX = 10_000_000
_BLOCK = 256  # rows of the overlap matrix in memory at a time


def suppress(
    boxes_xyxy: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, agnostic: bool, limit: int
) -> np.ndarray:
    """Keep the box of the highest score among boxes that overlap by more than `iou`.

    This is one call of `cv2.dnn.NMSBoxes` on boxes shifted by class. `NMSBoxesBatched` computes its offset from the
    largest coordinate, so that classes can overlap if boxes have negative coordinates.

    Args:
        boxes_xyxy: (n, 4) float32 corners.
        scores: (n,) above 0.
        classes: (n,) integers.
        iou: in [0, 1].
        agnostic: suppress across classes.
        limit: maximum number of kept boxes.
    Returns:
        Indices of the kept boxes, by decreasing score; equal scores keep their order.
    """
    corners = (boxes_xyxy if agnostic else boxes_xyxy + _offset(classes)).astype(np.float64)
    boxes_xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    # Boxes without area overlap nothing, but OpenCV treats any two of them as equal: move them far away, side by side.
    empty = (boxes_xywh[:, 2:] <= 0).any(axis=1)
    boxes_xywh[empty, 0] = _FAR_PX + 2 * np.arange(empty.sum())
    boxes_xywh[empty, 1:] = _FAR_PX, 1, 1
    kept = cv2.dnn.NMSBoxes(boxes_xywh, scores, 0.0, iou, top_k=MAX_CANDIDATES)
    return np.array(kept, np.int64).reshape(-1)[:limit]


def suppress_rotated(
    boxes_cxcywhr: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, agnostic: bool, limit: int
) -> np.ndarray:
    """Suppress rotated boxes (n, 5) by their probabilistic IoU; arguments and result are those of `suppress`.

    Implemented here because no library has this variant: a box is dropped if any box of a higher score overlaps it by
    more than `iou`, even one that is dropped itself.

    Source:
        Fast NMS of YOLACT (Bolya et al. 2019, arXiv:1904.02689), as in Ultralytics.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    boxes = boxes_cxcywhr[order]
    if not agnostic:
        boxes = np.concatenate([boxes[:, :2] + _offset(classes[order]), boxes[:, 2:]], axis=1)
    dropped = np.zeros(len(order), bool)
    for start in range(0, len(order), _BLOCK):
        block = boxes[start : start + _BLOCK]
        overlaps = np.triu(probabilistic_iou(block, boxes[start:]), k=1)
        dropped[start:] |= (overlaps > iou).any(axis=0)
    return order[~dropped][:limit]


def probabilistic_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the overlap (n, m) of rotated boxes (n, 5) and (m, 5): 1 minus their Hellinger distance as Gaussians.

    Source:
        ProbIoU (Llerena et al. 2021, arXiv:2106.06072), equations 4 to 10. The epsilon and where it is added
        follow Ultralytics, so that the same boxes are dropped at the same threshold.
    """
    epsilon = np.float32(1e-7)
    x, y, a, b, c = (column[:, None] for column in _gaussians(boxes))
    other_x, other_y, other_a, other_b, other_c = _gaussians(others)
    dx, dy = other_x - x, y - other_y
    sum_a, sum_b, sum_c = a + other_a, b + other_b, c + other_c
    spread = sum_a * sum_b - sum_c**2
    shift = (sum_a * dy**2 + sum_b * dx**2) / (spread + epsilon) / 4 + sum_c * dx * dy / (spread + epsilon) / 2
    areas = np.maximum(a * b - c**2, 0) * np.maximum(other_a * other_b - other_c**2, 0)
    shape = np.log(spread / (4 * np.sqrt(areas) + epsilon) + epsilon) / 2
    distance = np.clip(shift + shape, epsilon, np.float32(100))
    return 1 - np.sqrt(1 - np.exp(-distance) + epsilon)


def _gaussians(boxes_cxcywhr: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the centres and covariances of boxes: x, y, variance along x and y, covariance."""
    x, y, width, height, angle = boxes_cxcywhr.T
    cosine, sine = np.cos(angle), np.sin(angle)
    along, across = width**2 / 12, height**2 / 12
    return (
        x,
        y,
        along * cosine**2 + across * sine**2,
        along * sine**2 + across * cosine**2,
        (along - across) * cosine * sine,
    )


def _offset(classes: np.ndarray) -> np.ndarray:
    return (classes.astype(np.float32) * CLASS_OFFSET_PX)[:, None]
