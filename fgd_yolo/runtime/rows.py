"""What the rows of a detector's output mean: task, classes and numbers of a row, checked against the shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from fgd_yolo.runtime.claims import Claims, class_names, describe, flag, keypoint_shape, refusal
from fgd_yolo.runtime.session import TensorSpec

TASKS = ("detect", "segment", "pose", "obb")
_ROW = 6  # a finished detection: four numbers of the box, score, class


class Rows(NamedTuple):
    """The fields of `ModelInfo` that the outputs decide."""

    names: dict[int, str]
    decoded: bool
    embedded_nms: bool
    keypoint_shape: tuple[int, int] | None


def read_rows(outputs: Sequence[TensorSpec], claims: Claims) -> tuple[str, Rows]:
    """Find the task and the meaning of the rows, and check them against the shapes.

    Convention:
        Raw columns, one for each anchor: 4 of the box, a score for each class, extras. Finished rows: 4 of the box,
        score, class, extras. Extras are 32 mask coefficients, the numbers of the keypoints, or 1 angle.
    Args:
        outputs: of the file.
        claims: of the file; notes are left in it for what is assumed.
    Returns:
        The task, and what the outputs tell.
    Raises:
        FGDError: no detector that this reads, or metadata and shapes contradict each other.
    """
    said_task = claims.metadata.get("task")
    if said_task and said_task not in TASKS:
        raise refusal(f"it is a {said_task} model, and this reads {', '.join(TASKS)}")
    described = ", ".join(describe(spec) for spec in outputs)
    if tuple(len(spec.shape) for spec in outputs) not in ((3,), (3, 4)):
        raise refusal(f"its outputs are {described}")
    names = claims.find("names", class_names)
    keypoints = claims.find("kpt_shape", keypoint_shape)
    task = said_task or _guess_task(outputs, names, keypoints, claims)
    if (task == "segment") != (len(outputs) == 2):
        raise refusal(f"it is said to be a {task} model, but its outputs are {described}")
    of_pose = keypoints and math.prod(keypoints)
    extras = {"detect": 0, "obb": 1, "segment": _mask_channels(outputs), "pose": of_pose}[task]
    decoded, embedded = _read_decoded(outputs[0].shape, extras, claims)
    channels = outputs[0].shape[2 if decoded else 1]
    if extras is None:
        keypoints = _guess_keypoints(channels, _ROW if decoded else names and 4 + len(names), claims)
        extras = math.prod(keypoints)
    if names is None:
        names = _number_classes(outputs[0], decoded, extras, claims)
    expected = extras + (_ROW if decoded else 4 + len(names))
    if channels not in (expected, None):
        kind = "rows" if decoded else "columns"
        claim = f"task {task} with {len(names)} classes needs {kind} of {expected} numbers"
        raise refusal(f"{claim}, and its output is {described}")
    return task, Rows(names, decoded, embedded, keypoints if task == "pose" else None)


def _guess_task(outputs: Sequence[TensorSpec], names: dict | None, keypoints: Any, claims: Claims) -> str:
    _, channels, last = outputs[0].shape
    spare = channels - 4 - len(names) if channels and names else None
    if len(outputs) == 2:
        task = "segment"
    elif keypoints:
        task = "pose"
    elif last == _ROW + 1 or spare == 1:
        task = "obb"
    elif last == _ROW or not spare:
        task = "detect"
    else:
        raise refusal(f"its task is not said, and {describe(outputs[0])} does not fit its {len(names)} classes")
    claims.assume("task", f"{task} is taken, from the shape of its outputs")
    return task


def _mask_channels(outputs: Sequence[TensorSpec]) -> int:
    return (outputs[1].shape[1] if len(outputs) == 2 else None) or 32


def _read_decoded(rows: tuple[int | None, ...], extras: int | None, claims: Claims) -> tuple[bool, bool]:
    """Tell whether rows are finished detections, and whether an NMS in the graph made them."""
    end_to_end = claims.find("end2end", flag)
    args = claims.find("args", dict) or {}
    if end_to_end or args.get("nms") is True:
        return True, not end_to_end
    if end_to_end is None and extras is not None and rows[2] == _ROW + extras:
        claims.assume("end2end", "the rows are taken as finished detections, from their number of columns")
        return True, True
    return False, False


def _guess_keypoints(channels: int | None, others: int | None, claims: Claims) -> tuple[int, int]:
    spare = channels - others if channels and others else 0
    numbers = [size for size in (2, 3) if spare > 0 and spare % size == 0]
    if len(numbers) != 1:
        raise refusal("it is a pose model that does not say its keypoints ('kpt_shape'); export it again")
    found = (spare // numbers[0], numbers[0])
    claims.assume("kpt_shape", f"{found[0]} x {found[1]} is taken")
    return found


def _number_classes(rows: TensorSpec, decoded: bool, extras: int, claims: Claims) -> dict[int, str]:
    if decoded:
        claims.assume("names", "classes are shown by number")
        return {}
    _, channels, anchors = rows.shape
    if channels is None or channels - 4 - extras < 1 or (anchors and anchors < channels):
        raise refusal(f"its class names are missing, and its output is {describe(rows)}; export it again")
    count = channels - 4 - extras
    claims.assume("names", f"the {count} classes are numbered from 0")
    return {index: str(index) for index in range(count)}
