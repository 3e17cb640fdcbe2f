"""Turn what a model has found on an image, in pixels, into labels as fractions of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from fgd_yolo.label_lines import HIDDEN, VISIBLE
from fgd_yolo.labelling.image_labels import ImageLabels, LabelledObject

VISIBLE_FROM = 0.5
"""Confidence from which a keypoint is labelled as visible."""
_OUTLINE_POINTS = 3  # fewer make no area


def to_labels(
    path: Path,
    shape: tuple[int, int],
    found: Iterable[tuple[int, float, np.ndarray, Mapping[str, np.ndarray]]],
) -> ImageLabels:
    """Return the labels of an image; an object without any area within it is left out.

    Args:
        path: file of the image.
        shape: height and width in pixels.
        found: class, score, corners x1, y1, x2, y2 of the box in pixels, and the further fields of `LabelledObject`.
    """
    height, width = shape
    objects = []
    for class_id, score, xyxy, fields in found:
        left, top, right, bottom = (xyxy / [width, height, width, height]).clip(0, 1).tolist()
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        if min(box[2:]) > 0:
            objects.append(LabelledObject(class_id, score, box, **fields))
    return ImageLabels(path, height, width, tuple(sorted(objects, key=lambda entry: -entry.score)))


def polygon_field(points: np.ndarray, xyxy: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outline of a mask as a field: its points, or the box of one that is too small for an outline.

    Args:
        points: (N, 2) fractions of the image.
        xyxy: (4,) corners of the box, as fractions.
    """
    if len(points) >= _OUTLINE_POINTS:
        return {"polygon": points.clip(0, 1)}
    left, top, right, bottom = xyxy.clip(0, 1)
    return {"polygon": np.array([[left, top], [right, top], [right, bottom], [left, bottom]])}


def keypoints_field(points: np.ndarray, confidences: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return keypoints as a field, with their visibility if the model gives confidences.

    Args:
        points: (K, 2) fractions of the image.
        confidences: (K,) in [0, 1], or None.
    """
    if confidences is None:
        return {"keypoints": points.clip(0, 1)}
    seen = (confidences >= VISIBLE_FROM) & (points >= 0).all(1) & (points <= 1).all(1)
    return {"keypoints": np.column_stack([points * seen[:, None], np.where(seen, VISIBLE, HIDDEN)])}
