"""Check that the labels of a data set are those that a student of a task is trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fgd_yolo.errors import FGDError

_UNEQUAL = re.compile(r"len\(segments\) = (\d+), len\(boxes\) = (\d+)")  # in Ultralytics' error for both tasks below
_NEEDED = {
    "segment": ("yolov8n-seg", "masks", "polygons (a class and the corners of each object's outline)"),
    "obb": ("yolov8n-obb", "rotated boxes", "four corners (a class and the corners of each object's box)"),
    "pose": ("yolov8n-pose", "keypoints", "keypoints (a class, a box, and `kpt_shape` in the data YAML)"),
}
"""By task: an example of a student, what it is trained on, and the labels that hold it."""
_FOUR_CORNERS = {
    "detect": "a detect student is trained on the upright boxes around them; for rotated boxes take yolov8n-obb",
    "segment": "the masks of a segment student are these boxes; for rotated boxes take yolov8n-obb",
}
"""By task: what becomes of rotated boxes."""


def check_keypoint_shape(info: Mapping[str, Any], task: str) -> None:
    """Check that a data set for a pose student says how many keypoints its labels have.

    Args:
        info: content of the data YAML, with its path as `yaml_file`.
        task: task of the student.

    Raises:
        FGDError: `kpt_shape` is missing or invalid.
    """
    shape = info.get("kpt_shape")
    valid = isinstance(shape, (list, tuple)) and len(shape) == 2 and shape[0] > 0 and shape[1] in (2, 3)
    if task == "pose" and not valid:
        stated = "has no kpt_shape" if shape is None else f"has kpt_shape {shape}, not [number of keypoints, 2 or 3]"
        raise FGDError(_missing(info, task, stated))


def explain_labels(error: Exception, info: Mapping[str, Any], task: str, split: str) -> Exception:
    """Return an error that names data, student and remedy if an error of Ultralytics is about missing polygons.

    Args:
        error: raised when Ultralytics built its dataset.
        info: content of the data YAML, with its path as `yaml_file`.
        task: task of the student.
        split: name of the split.
    """
    counts = _UNEQUAL.search(str(error))
    if counts is None or task not in _NEEDED:
        return error
    return FGDError(
        _missing(info, task, f"has polygons for {counts[1]} of the {counts[2]} objects in its {split} images")
    )


def no_objects(info: Mapping[str, Any], task: str, split: str, unreadable: int) -> str | None:
    """Return why a split for a pose student has no labelled object, if its labels have another number of columns.

    Args:
        info: content of the data YAML, with its path as `yaml_file`.
        task: task of the student.
        split: name of the split.
        unreadable: images that were left out.
    """
    if task != "pose" or not unreadable:
        return None
    count, values = info["kpt_shape"]
    numbers = 5 + count * values
    stated = (
        f"has no label of {numbers} numbers in its {split} images (class, box and {count} keypoints of {values}, by "
        f"its kpt_shape {list(info['kpt_shape'])})"
    )
    return _missing(info, task, stated)


def corner_note(labels: Iterable[Mapping[str, Any]], task: str) -> str | None:
    """Return what Ultralytics makes of polygons that are not meant for the task, as one line; None if they are.

    Args:
        labels: labels of Ultralytics' dataset, with polygons (N, 2) as `segments`.
        task: task of the student.
    """
    polygons = [polygon for label in labels for polygon in label["segments"]]
    others = sum(len(polygon) != 4 for polygon in polygons)
    if task == "obb" and others:
        return (
            f"{others} of {len(polygons)} labels are not four corners: an obb student is trained on the smallest "
            "rotated box around each polygon"
        )
    if task not in _FOUR_CORNERS or others or not any(map(_is_rotated, polygons)):
        return None
    return f"the labels are rotated boxes (four corners): {_FOUR_CORNERS[task]}"


def _is_rotated(corners: np.ndarray) -> bool:
    """Return whether a corner of a polygon is not one of the box around it."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    return not (np.isclose(corners, low, atol=1e-4) | np.isclose(corners, high, atol=1e-4)).all()


def _missing(info: Mapping[str, Any], task: str, stated: str) -> str:
    student, trained_on, labels = _NEEDED[task]
    return (
        f"a student for {task}, such as {student}, is trained on {trained_on}, but data {info['yaml_file']} {stated}: "
        f"give labels with {labels}, or a detect student, such as {student.partition('-')[0]}"
    )
