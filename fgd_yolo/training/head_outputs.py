"""The outputs of detection heads, branch by branch and level by level, as the head terms compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fgd_yolo.methods import Predictions
from fgd_yolo.neck import Level

BRANCHES = ("one2many", "one2one")  # YOLO10 and YOLO26 have both; the second sends no gradient to the neck


def run_branches(head: nn.Module, maps: list[Tensor]) -> dict[str, Any]:
    """Return the raw outputs of a head for its neck maps, in the format of Ultralytics' forward pass in training."""
    outputs = {"one2many": head.forward_head(maps, **head.one2many)}
    if getattr(head, "one2one_cv2", None) is not None:
        outputs["one2one"] = head.forward_head(maps, **head.one2one)
    return outputs


def paired_branches(
    student: dict[str, Any], teacher: dict[str, Any], levels: list[Level], classes: Sequence[int] | None = None
) -> list[tuple[Predictions, Predictions]]:
    """Pair the outputs of two heads: the branches that both have, restricted to the levels that both have.

    Args:
        student: output of a head in training: `boxes`, `scores` and `feats`, or one such mapping per branch.
        teacher: the same of the teacher's head.
        levels: pairs of neck maps.
        classes: classes whose scores are compared; None for all.
    """
    student, teacher = _by_branch(student), _by_branch(teacher)
    return [
        (
            _select(student[branch], [level.student_index for level in levels], classes),
            _select(teacher[branch], [level.teacher_index for level in levels], classes),
        )
        for branch in BRANCHES
        if branch in student and branch in teacher
    ]


def keep_both_branches(head: nn.Module) -> None:
    """Prevent Ultralytics' `fuse` from removing a branch of a head; its convolutions are still fused."""
    head.fuse = lambda: None


def _by_branch(outputs: dict[str, Any]) -> dict[str, Any]:
    return outputs if "one2many" in outputs else {"one2many": outputs}


def _select(outputs: dict[str, Any], indices: list[int], classes: Sequence[int] | None) -> Predictions:
    """Select levels and classes from the output of one branch."""
    cells = [neck_map.shape[2] * neck_map.shape[3] for neck_map in outputs["feats"]]
    boxes, scores = (
        torch.cat([outputs[name].split(cells, dim=2)[index] for index in indices], dim=2)
        for name in ("boxes", "scores")
    )
    return Predictions(boxes, scores if classes is None else scores[:, list(classes)])
