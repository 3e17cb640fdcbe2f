"""Decode a network's output into candidates above the confidence threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MAX_VALUE = 1e9  # far above any box, keypoint or mask coefficient; larger values would overflow in later steps


class Candidates(NamedTuple):
    """Objects of one image, in pixels of the canvas.

    `boxes` (n, 4) are corners (x1, y1, x2, y2), or centre and size for rotated boxes. `extras` (n, e) are the values
    of the task: mask coefficients, keypoints or the angle.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    extras: np.ndarray

    def take(self, index: np.ndarray) -> Candidates:
        """Select candidates by an index array or a mask."""
        return Candidates(*(column[index] for column in self))

    def finite(self) -> np.ndarray:
        """Return a mask (n,) of the candidates whose values are all finite, and below 1e9 in magnitude."""
        rows = np.concatenate([self.boxes, self.scores[:, None], self.extras], axis=1)
        return (np.abs(rows) < _MAX_VALUE).all(axis=1)


def decode_anchors(output: np.ndarray, class_count: int, confidence: float, rotated: bool = False) -> Candidates:
    """Decode raw anchors: those whose best class has a score above the threshold, each with that class.

    Candidates with a NaN score are included, so that the caller can count them. All scores are scanned in a view; the
    other rows are copied for the candidates only.

    Args:
        output: (4 + classes + extras, anchors): centre-size boxes, class scores, extras.
        class_count: number of classes.
        confidence: threshold in [0, 1]; a score must be above it.
        rotated: keep boxes as centre and size.
    """
    end = 4 + class_count
    index = np.flatnonzero(~(output[4:end].max(axis=0) <= confidence))
    rows = output[:, index].T.astype(np.float32, copy=False)
    boxes, scores = rows[:, :4], rows[:, 4:end]
    if not rotated:
        half = boxes[:, 2:] / 2
        boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    classes = scores.argmax(axis=1)
    return Candidates(boxes, scores[np.arange(len(rows)), classes], classes, rows[:, end:])


def decode_rows(output: np.ndarray, confidence: float, limit: int) -> Candidates:
    """Decode rows that need no NMS: from an end-to-end head, or from NMS embedded in the file.

    Rows with a NaN score are included, as in `decode_anchors`.

    Args:
        output: (rows, 6 + extras): box, score, class, extras, in order of decreasing score. Rows of zeros are padding.
        confidence: threshold in [0, 1]; a score must be above it.
        limit: maximum number of finite candidates.
    """
    rows = output[~(output[:, 4] <= confidence)].astype(np.float32, copy=False)
    valid = np.abs(rows[:, 5]) < _MAX_VALUE
    labels, scores = np.where(valid, rows[:, 5], 0).astype(np.int64), np.where(valid, rows[:, 4], np.float32(np.nan))
    candidates = Candidates(rows[:, :4], scores, labels, rows[:, 6:])
    return candidates.take(np.cumsum(candidates.finite()) <= limit)


def fractions_to_corners(boxes: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Return the corners of boxes in pixels of a canvas (height, width).

    Args:
        boxes: (n, 4) centre and size as fractions of the canvas.
    """
    half = boxes[:, 2:] / 2
    corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return corners * np.array([canvas[1], canvas[0]] * 2, np.float32)
