"""The outputs of detection heads, branch by branch and level by level, as the head terms compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fgd_yolo.errors import FGDError
from fgd_yolo.methods.head_loss import Predictions
from fgd_yolo.neck import Level

BRANCHES = ("one2many", "one2one")  # YOLO10 and YOLO26 have both, and train the second without reaching the neck


def run_branches(head: nn.Module, maps: list[Tensor]) -> dict[str, Any]:
    """Return what a head predicts from its neck maps, as the host's training forward pass returns it."""
    found = {"one2many": head.forward_head(maps, **head.one2many)}
    if getattr(head, "one2one_cv2", None) is not None:
        found["one2one"] = head.forward_head(maps, **head.one2one)
    return found


def paired_branches(
    student: dict[str, Any], teacher: dict[str, Any], levels: list[Level], classes: Sequence[int] | None = None
) -> list[tuple[Predictions, Predictions]]:
    """Pair what two heads predict: the branches that both have, cut to the levels that both have.

    Args:
        student: the head's output in training: `boxes`, `scores` and `feats`, or one such mapping for each branch.
        teacher: the same of the teacher.
        levels: pairs of neck maps.
        classes: whose scores are compared; None is all.
    """
    student, teacher = _by_branch(student), _by_branch(teacher)
    return [
        (
            _cut(student[branch], [level.student_index for level in levels], classes),
            _cut(teacher[branch], [level.teacher_index for level in levels], classes),
        )
        for branch in BRANCHES
        if branch in student and branch in teacher
    ]


def kept_classes(classes: int | Sequence[int] | None, single_cls: bool, count: int) -> list[int] | None:
    """Return the classes that a training keeps of its data, or None for all.

    Ultralytics drops the labels of the others and leaves the head as wide as it was. Their objects are background
    then, so a teacher that still scores them must not be imitated in them.

    Args:
        classes: Ultralytics' train argument of this name.
        single_cls: Ultralytics' train argument: the kept objects are all of one class, the only one of the head.
        count: classes of the data.

    Raises:
        FGDError: no class is kept, or one that the data does not have.
    """
    if classes is None or single_cls:
        return None
    wanted = list(classes) if isinstance(classes, (list, tuple)) else [classes]
    if not wanted or not set(wanted) <= set(range(count)):
        raise FGDError(
            f"classes={classes} keeps no class, or an unknown one: the data has the classes 0 to {count - 1}"
        )
    return sorted({int(number) for number in wanted})


def keep_both_branches(head: nn.Module) -> None:
    """Stop the host's fuse from removing a branch of a head; its convolutions are still fused."""
    head.fuse = lambda: None


def _by_branch(found: dict[str, Any]) -> dict[str, Any]:
    return found if "one2many" in found else {"one2many": found}


def _cut(found: dict[str, Any], indices: list[int], classes: Sequence[int] | None) -> Predictions:
    cells = [neck_map.shape[2] * neck_map.shape[3] for neck_map in found["feats"]]
    boxes, scores = (
        torch.cat([found[name].split(cells, dim=2)[index] for index in indices], dim=2) for name in Predictions._fields
    )
    return Predictions(boxes, scores if classes is None else scores[:, list(classes)])
