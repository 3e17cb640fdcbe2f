"""The outputs of detection heads, branch by branch and level by level, as the head terms compare them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fgd_yolo.distillation.taps import Level
from fgd_yolo.losses.heads import Predictions

BRANCHES = ("one2many", "one2one")  # YOLO10 and YOLO26 have both, and train the second without reaching the neck


def run_branches(head: nn.Module, maps: list[Tensor]) -> dict[str, Any]:
    """Return what a head predicts from its neck maps, as the host's training forward pass returns it."""
    found = {"one2many": head.forward_head(maps, **head.one2many)}
    if getattr(head, "one2one_cv2", None) is not None:
        found["one2one"] = head.forward_head(maps, **head.one2one)
    return found


def paired_branches(
    student: dict[str, Any], teacher: dict[str, Any], levels: list[Level]
) -> list[tuple[Predictions, Predictions]]:
    """Pair what two heads predict: the branches that both have, cut to the levels that both have.

    Args:
        student: the head's output in training: `boxes`, `scores` and `feats`, or one such mapping for each branch.
        teacher: the same of the teacher.
        levels: pairs of neck maps.
    """
    student, teacher = _by_branch(student), _by_branch(teacher)
    return [
        (
            _cut(student[branch], [level.student_index for level in levels]),
            _cut(teacher[branch], [level.teacher_index for level in levels]),
        )
        for branch in BRANCHES
        if branch in student and branch in teacher
    ]


def keep_both_branches(head: nn.Module) -> None:
    """Stop the host's fuse from removing a branch of a head; its convolutions are still fused."""
    head.fuse = lambda: None


def _by_branch(found: dict[str, Any]) -> dict[str, Any]:
    return found if "one2many" in found else {"one2many": found}


def _cut(found: dict[str, Any], indices: list[int]) -> Predictions:
    cells = [neck_map.shape[2] * neck_map.shape[3] for neck_map in found["feats"]]
    return Predictions(
        *(
            torch.cat([found[name].split(cells, dim=2)[index] for index in indices], dim=2)
            for name in Predictions._fields
        )
    )
