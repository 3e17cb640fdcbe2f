"""The supported tasks: one row of `DECODERS` each, with what the task adds to boxes, scores and classes.

The columns of an object in a network's output are 4 of its box, its scores, and the extra columns of its task. A row
defines what these contain and how they become fields of `Detections` in image pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fgd_yolo.preprocessing import Placement, rotated_to_image, to_image
from fgd_yolo.runtime.decode import Candidates
from fgd_yolo.runtime.detections import rotated_corners
from fgd_yolo.runtime.instance_masks import instance_masks


class OutputContext(NamedTuple):
    """The inputs of `Task.to_fields` besides the candidates of an image.

    Args:
        placement: placement of the image on the canvas.
        prototypes: (k, h, w) for instance masks, else None.
        keypoint_shape: keypoints of an object and numbers of each for pose, else None.
    """

    placement: Placement
    prototypes: np.ndarray | None
    keypoint_shape: tuple[int, int] | None


Fields = tuple[np.ndarray, dict[str, Any]]
"""Boxes `xyxy` (n, 4) in image pixels, and further fields of `Detections` by name."""


class Task(NamedTuple):
    """One row of `DECODERS`.

    Args:
        to_fields: converts the candidates of one image, in canvas pixels, to `Fields`.
        extras: name of the values in the extra columns, for messages; None if there are none.
        rotated: boxes are centre, size and an angle in the extra column.
    """

    to_fields: Callable[[Candidates, OutputContext], Fields]
    extras: str | None = None
    rotated: bool = False


def _boxes(candidates: Candidates, context: OutputContext) -> Fields:
    count = len(candidates.scores)
    return to_image(candidates.boxes.reshape(count, 2, 2), context.placement).reshape(count, 4), {}


def _masks(candidates: Candidates, context: OutputContext) -> Fields:
    boxes, _ = _boxes(candidates, context)
    return boxes, {"mask": instance_masks(context.prototypes, candidates.extras, boxes, context.placement)}


def _keypoints(candidates: Candidates, context: OutputContext) -> Fields:
    boxes, _ = _boxes(candidates, context)
    keypoints = candidates.extras.reshape(len(candidates.scores), *context.keypoint_shape)
    points = to_image(keypoints[..., :2], context.placement)
    return boxes, {"keypoints": np.concatenate([points, keypoints[..., 2:]], axis=2)}


def _rotated_boxes(candidates: Candidates, context: OutputContext) -> Fields:
    rotated = rotated_to_image(np.concatenate([candidates.boxes, candidates.extras], axis=1), context.placement)
    corners = rotated_corners(rotated)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1), {"xywhr": rotated}


DECODERS = {
    "detect": Task(_boxes),
    "segment": Task(_masks, extras="mask coefficients and prototypes"),
    "pose": Task(_keypoints, extras="keypoints"),
    "obb": Task(_rotated_boxes, extras="angles", rotated=True),
}
