"""Reasons to doubt a teacher, said before the training, which goes on: a wrong teacher would go unnoticed otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.utils.torch_utils import get_flops

from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.training.preflight import same_classes
from fgd_yolo.ultralytics import load_detector

FAR_SIZE = 1.5  # times the image size of the training, up or down


def about_models(teacher: nn.Module, student: nn.Module, imgsz: int) -> list[str]:
    """Return what speaks against a teacher as a model: it is smaller than the student, or is the student.

    Args:
        teacher: whole, not changed.
        student: as it starts, not changed.
        imgsz: side of the images, in pixels.
    """
    found = []
    (taught, taught_flops), (learner, learner_flops) = (_cost(model, imgsz) for model in (teacher, student))
    smaller = []
    if taught < learner:
        smaller.append(f"{taught / 1e6:.2f} M parameters, the student {learner / 1e6:.2f} M")
    if taught_flops < learner_flops:
        smaller.append(f"{taught_flops:.2f} GFLOPs, the student {learner_flops:.2f}")
    if smaller:
        found.append(f"the teacher is smaller than the student: it has {', and '.join(smaller)}")
    if _same_weights(teacher, student):
        found.append("teacher and student start from the same weights: there is nothing that the student could learn")
    return found


def about_image_size(trained: Any, imgsz: int) -> list[str]:
    """Return what speaks against the size at which a teacher sees the images.

    Args:
        trained: `imgsz` of the teacher's own training, as its checkpoint has it.
        imgsz: of this training, in pixels.
    """
    own = max(trained) if isinstance(trained, (list, tuple)) and trained else trained
    if not isinstance(own, int) or own <= 0 or 1 / FAR_SIZE <= imgsz / own <= FAR_SIZE:
        return []
    return [
        f"the teacher was trained at {own} px and sees {imgsz} px here: its maps may be worth less than at its own size"
    ]


def about_val_images(recorded: Any, val_images: Iterable[str]) -> list[str]:
    """Return what speaks against a teacher's mAP: it was trained on images that it is measured on.

    Args:
        recorded: the data that its checkpoint says it was trained on; only what is on this disk is looked at.
        val_images: files that it is measured on.
    """
    try:
        seen = {path.resolve() for path in split_images(recorded, "train", "to look for the val images among")}
    except FGDError:
        return []
    measured = [Path(file).resolve() for file in val_images]
    known = sum(path in seen for path in measured)
    if not known:
        return []
    return [f"the teacher was trained on {known} of the {len(measured)} val images: its mAP above says little"]


def about_start(teacher_map: float, start_map: float) -> list[str]:
    """Return what speaks against a teacher beside the student's start, from the mAP50-95 of both."""
    if teacher_map >= start_map:
        return []
    return [
        f"the teacher is weaker than the student already is: mAP50-95 {teacher_map:.3f} on this val set, the student "
        f"{start_map:.3f} before its first epoch"
    ]


def starts_with_classes(model: Any, pretrained: Any, names: Mapping[int, str]) -> bool:
    """Return whether a student starts from weights that know the classes of the data, so that its mAP means something.

    Args:
        model: Ultralytics' train argument: a checkpoint or a model YAML.
        pretrained: Ultralytics' train argument: another checkpoint, or whether weights are used.
        names: classes of the data.
    """
    weights = pretrained if isinstance(pretrained, (str, Path)) else model if pretrained is not False else ""
    if not str(weights).endswith(".pt"):
        return False
    try:
        return same_classes(load_detector(weights)[0].names, names)
    except FGDError:  # Ultralytics has read it all the same, but what it knows cannot be told
        return False


def _cost(model: nn.Module, imgsz: int) -> tuple[int, float]:
    """Parameters and GFLOPs of a model as it is used: fused."""
    fused = deepcopy(model).float().eval().fuse(verbose=False)
    return sum(weight.numel() for weight in fused.parameters()), float(get_flops(fused, imgsz))


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        value.shape == second[name].shape and torch.equal(value.cpu(), second[name].cpu())
        for name, value in first.items()
    )
