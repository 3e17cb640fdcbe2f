"""Ultralytics' own loss of a batch with unlabelled frames."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from ultralytics.nn.modules.head import RTDETRDecoder

from fgd_yolo.training.step.loss_hook import LossHook
from fgd_yolo.training.step.teacher_passes import TeacherPass, TeacherPasses
from fgd_yolo.training.unlabeled_frames.frame_labels import FrameLabels, labelled_part
from fgd_yolo.training.unlabeled_frames.ignored_anchors import ignoring


def loss_with_frames(
    hook: LossHook, batch: dict[str, Any], preds: Any, labels: FrameLabels, passes: TeacherPasses
) -> tuple[Tensor, dict[str, Tensor], TeacherPass]:
    """Return Ultralytics' own loss and its items for a batch with frames in training, and what the teachers made of it.

    On a CPU the student runs while the teachers find the objects on the frames. On a GPU it runs after them, and so
    does RT-DETR, whose forward pass needs the labels.

    Args:
        hook: loss hook on the live student.
        batch: Ultralytics' batch.
        preds: outputs of a forward pass already made on this batch, or None.
        labels: labels of the frames.
        passes: runs the teachers on the batch.
    """
    needs_labels = isinstance(hook.student.model[-1], RTDETRDecoder)
    if preds is None and not needs_labels:
        preds = hook.forward(batch["img"])
    passed = hook.guarded(lambda: passes.wait(batch))
    if not labels.config.pseudo:
        part, own, counts = labelled_part(batch, preds, labels.indexed_masks)
        loss, items = hook.detection_loss(part, own)
        return (loss, items, passed) if counts else (loss * 0, {name: item * 0 for name, item in items.items()}, passed)
    size = tuple(batch["img"].shape[2:])
    regions = labels.ignored(batch, passed.found)
    with ignoring(hook.criterion, regions, labels.anchors(size, batch["img"].device), size):
        return *hook.detection_loss(labels.with_targets(batch, passed.found), preds), passed
