"""What a network's output holds: candidates above the threshold, as plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_LARGEST = 1e9  # no box, keypoint or mask coefficient comes near it; larger ones overflow in the steps that follow


class Candidates(NamedTuple):
    """Objects of one image, on the canvas.

    `boxes` (n, 4) are corners (x1, y1, x2, y2), or centre and size where the boxes are rotated. `extras` (n, e) are
    the task's own numbers: mask coefficients, keypoints or the angle.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    extras: np.ndarray

    def take(self, index: np.ndarray) -> Candidates:
        """Return the candidates that an index array or a mask names."""
        return Candidates(*(column[index] for column in self))

    def usable(self) -> np.ndarray:
        """Return which candidates (n,) bool have only finite numbers, none of them beyond 1e9."""
        rows = np.concatenate([self.boxes, self.scores[:, None], self.extras], axis=1)
        return (np.abs(rows) < _LARGEST).all(axis=1)


def decode_anchors(output: np.ndarray, class_count: int, confidence: float, rotated: bool = False) -> Candidates:
    """Read raw anchors: those whose best class scores above the threshold, each with that class alone.

    Candidates whose score is no number are among them, since nobody can tell whether it is above.

    Only the rows of scores are scanned, as a view; the other rows are copied for the candidates alone.

    Args:
        output: (4 + classes + extras, anchors): centre-size boxes, class scores, extras.
        class_count: how many classes there are.
        confidence: in [0, 1]; a score equal to it is not above it.
        rotated: leave boxes as centre and size.
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
    """Read rows that need no suppression any more: of an end-to-end head, or after NMS inside the file.

    Rows whose score is no number are among them, as in `decode_anchors`.

    Args:
        output: (rows, 6 + extras): box, score, class, extras, best first. Rows of zeros are padding.
        confidence: in [0, 1]; a score equal to it is not above it.
        limit: of these at most so many usable ones are returned, the first ones.
    """
    rows = output[~(output[:, 4] <= confidence)].astype(np.float32, copy=False)
    known = np.abs(rows[:, 5]) < _LARGEST
    labels, scores = np.where(known, rows[:, 5], 0).astype(np.int64), np.where(known, rows[:, 4], np.float32(np.nan))
    found = Candidates(rows[:, :4], scores, labels, rows[:, 6:])
    return found.take(np.cumsum(found.usable()) <= limit)
