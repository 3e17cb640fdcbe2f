"""Which anchors the student's own loss assigns to labelled boxes, for the head terms that depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils.metrics import bbox_iou, probiou

from fgd_yolo.training.heads.head_outputs import BRANCHES

SMALLEST_OVERLAP = 1e-6  # of an anchor that is assigned to a box without touching it


@contextmanager
def record_assignments(student: nn.Module) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Record what the assigner of the student's loss decides during a block, without changing it.

    Args:
        student: live Ultralytics model; its loss is built if it has none yet, as its first step would.

    Yields:
        For each branch of the head that has an assigner, `matched` and `candidates` of `Predictions` for all anchors of
        the latest loss. RT-DETR has no assigner, so nothing is recorded.
    """
    recorded: dict[str, dict[str, Tensor]] = {}
    with ExitStack() as hooks:
        for branch, assigner in _assigners(criterion_of(student)).items():
            hook = partial(_record, recorded.setdefault(branch, {}))
            hooks.callback(assigner.register_forward_hook(hook).remove)
        yield recorded


def _assigners(criterion: object) -> dict[str, nn.Module]:
    """Return the assigner of each branch; a loss for one branch has the first of `BRANCHES`."""
    parts = branch_losses(criterion)
    return {branch: part.assigner for branch, part in parts.items() if hasattr(part, "assigner")}


def criterion_of(student: nn.Module) -> Any:
    """Return Ultralytics' criterion of a live model, which is built now if it has none yet, as its first step would."""
    if getattr(student, "criterion", None) is None:
        student.criterion = student.init_criterion()
    return student.criterion


def branch_losses(criterion: Any) -> dict[str, Any]:
    """Return the loss of each branch of a criterion; a loss for one branch has the first of `BRANCHES`."""
    parts = {branch: getattr(criterion, branch) for branch in BRANCHES if hasattr(criterion, branch)}
    return parts or {BRANCHES[0]: criterion}


@torch.no_grad()
def _record(recorded: dict[str, Tensor], assigner: nn.Module, inputs: tuple[Tensor, ...], outputs: tuple) -> None:
    """Store what a call of Ultralytics' `TaskAlignedAssigner` has decided; boxes are in pixels."""
    scores, boxes, anchors, labels, labelled_boxes, valid = inputs
    target_labels, target_boxes, _, assigned, _ = outputs
    zeros = boxes.new_zeros(scores.shape[0], scores.shape[2], scores.shape[1])  # B, classes, A; float32 under AMP
    overlap = (_overlap(boxes, target_boxes).clamp(min=SMALLEST_OVERLAP) * assigned).to(zeros.dtype)
    column = target_labels.long().clamp(max=zeros.shape[1] - 1)  # without any label it is the number of classes
    recorded["matched"] = zeros.scatter(1, column.unsqueeze(1), overlap.unsqueeze(1))
    recorded["candidates"] = zeros
    if labelled_boxes.shape[1]:
        inside = assigner.select_candidates_in_gts(anchors, labelled_boxes, valid) & valid.bool()  # B, boxes, A
        column = labels.long().expand_as(inside)
        recorded["candidates"] = zeros.scatter_reduce(1, column, inside.to(zeros.dtype), "amax")


def _overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the overlap (B, A) of boxes in pairs: the IoU of corners, or Ultralytics' own for rotated boxes."""
    if boxes.shape[2] == 4:
        return bbox_iou(boxes, others, xywh=False).squeeze(2)
    return probiou(boxes.flatten(0, 1), others.flatten(0, 1)).view(boxes.shape[:2])
