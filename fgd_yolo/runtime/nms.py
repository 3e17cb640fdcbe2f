"""Non-maximum suppression with the host's results: a library's for upright boxes, ours for rotated ones."""

from __future__ import annotations

import cv2
import numpy as np

# The host's numbers. Boxes of different classes are this far apart, so that they never overlap.
CLASS_OFFSET_PX = 7680
MOST_CANDIDATES = 30_000
_FAR_PX = 10_000_000
_BLOCK = 256  # rows of the overlap matrix that are held at a time


def suppress(
    boxes_xyxy: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, agnostic: bool, limit: int
) -> np.ndarray:
    """Keep the best of boxes that overlap by more than `iou`.

    One call of `cv2.dnn.NMSBoxes` on boxes moved apart by class. `NMSBoxesBatched` does the same with an offset made
    from the largest coordinate, which lets classes touch where boxes reach below zero.

    Args:
        boxes_xyxy: (n, 4) float32 corners.
        scores: (n,) above 0.
        classes: (n,) integers.
        iou: in [0, 1].
        agnostic: suppress across classes too.
        limit: at most so many are kept.
    Returns:
        Indices of the kept boxes, best first; of equal scores the first stays first.
    """
    corners = (boxes_xyxy if agnostic else boxes_xyxy + _offset(classes)).astype(np.float64)
    boxes_xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    # Boxes without area overlap nothing, but OpenCV takes any two of them for one: they go far away, side by side.
    flat = (boxes_xywh[:, 2:] <= 0).any(axis=1)
    boxes_xywh[flat, 0] = _FAR_PX + 2 * np.arange(flat.sum())
    boxes_xywh[flat, 1:] = _FAR_PX, 1, 1
    kept = cv2.dnn.NMSBoxes(boxes_xywh, scores, 0.0, iou, top_k=MOST_CANDIDATES)
    return np.array(kept, np.int64).reshape(-1)[:limit]


def suppress_rotated(
    boxes_cxcywhr: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, agnostic: bool, limit: int
) -> np.ndarray:
    """Do the same for rotated boxes (n, 5), by probabilistic overlap.

    Written here because no library has it: a box falls if any better one overlaps it by more than `iou`, one that fell
    itself included.

    Source:
        The one-pass rule: Fast NMS of YOLACT (Bolya et al. 2019, arXiv:1904.02689), as the host uses it.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    boxes = boxes_cxcywhr[order]
    if not agnostic:
        boxes = np.concatenate([boxes[:, :2] + _offset(classes[order]), boxes[:, 2:]], axis=1)
    fallen = np.zeros(len(order), bool)
    for start in range(0, len(order), _BLOCK):
        block = boxes[start : start + _BLOCK]
        overlaps = np.triu(probabilistic_iou(block, boxes[start:]), k=1)
        fallen[start:] |= (overlaps > iou).any(axis=0)
    return order[~fallen][:limit]


def probabilistic_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the overlap (n, m) of rotated boxes (n, 5) and (m, 5): 1 minus their Hellinger distance as Gaussians.

    Source:
        ProbIoU (Llerena et al. 2021, arXiv:2106.06072), equations 4 to 10. The small constant and where it is
        added follow the host, so that the same boxes fall at the same threshold.
    """
    tiny = np.float32(1e-7)
    x, y, a, b, c = (column[:, None] for column in _gaussians(boxes))
    other_x, other_y, other_a, other_b, other_c = _gaussians(others)
    dx, dy = other_x - x, y - other_y
    sum_a, sum_b, sum_c = a + other_a, b + other_b, c + other_c
    spread = sum_a * sum_b - sum_c**2
    shift = (sum_a * dy**2 + sum_b * dx**2) / (spread + tiny) / 4 + sum_c * dx * dy / (spread + tiny) / 2
    areas = np.maximum(a * b - c**2, 0) * np.maximum(other_a * other_b - other_c**2, 0)
    shape = np.log(spread / (4 * np.sqrt(areas) + tiny) + tiny) / 2
    distance = np.clip(shift + shape, tiny, np.float32(100))
    return 1 - np.sqrt(1 - np.exp(-distance) + tiny)


def _gaussians(boxes_cxcywhr: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return centres and covariances of boxes: x, y, variance along x, along y, covariance."""
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
