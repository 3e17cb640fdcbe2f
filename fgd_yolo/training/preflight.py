"""Before anything is learnt: is this teacher fit for this data, and does every term reach what it should?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fgd_yolo.console import format_classes
from fgd_yolo.errors import FGDError
from fgd_yolo.methods import FGDLoss
from fgd_yolo.methods.box_masks import foreground_weights
from fgd_yolo.training.distiller import Distiller
from fgd_yolo.ultralytics import validate


def check_classes(teacher_names: Mapping[int, str], data_names: Mapping[int, str]) -> None:
    """Stop unless the teacher's classes are the data's, in the same order.

    Raises:
        FGDError: they differ; the message names `distill()`, which fine-tunes a teacher first.
    """
    if not same_classes(teacher_names, data_names):
        raise FGDError(
            f"the teacher knows {format_classes(teacher_names)}, the data has {format_classes(data_names)}: distil "
            "with fgd_yolo.distill() or tools/distill.py, which fine-tune the teacher on the data first"
        )


def same_classes(one: Mapping[int, str], other: Mapping[int, str]) -> bool:
    """Return whether two class maps name the same classes under the same numbers, whatever their case and spacing."""
    return _normal(one) == _normal(other)


def check_channels(teacher: nn.Module, data_channels: int) -> None:
    """Stop unless the teacher reads images with as many channels as the data has.

    Raises:
        FGDError: it does not.
    """
    channels = teacher.yaml.get("channels", 3)
    if channels != data_channels:
        raise FGDError(f"the teacher reads {channels}-channel images, the data has {data_channels}: train it on these")


def teacher_map(teacher: nn.Module, loader, args, least: float) -> tuple[float, float]:
    """Return a teacher's (mAP50-95, mAP50) on the validation images that the student will be measured on.

    Args:
        teacher: a whole detector, not changed.
        loader: the trainer's validation loader.
        args: the trainer's arguments.
        least: bound on mAP50-95.

    Raises:
        FGDError: mAP50-95 is below the bound: nothing could be learnt from this teacher.
    """
    box = validate(teacher, vars(args), loader=loader).metrics.box
    map50_95, map50 = float(box.map), float(box.map50)
    check_teacher_map(map50_95, least)
    return map50_95, map50


def check_teacher_map(map50_95: float, least: float) -> None:
    """Stop where a teacher's mAP50-95 is below the bound.

    Raises:
        FGDError: it is: nothing could be learnt from this teacher.
    """
    if not map50_95 >= least:
        raise FGDError(
            f"the teacher reaches mAP50-95 {map50_95:.3f} on this validation set, below {least:g}: it is the "
            "wrong file, or trained on other data or another image size; train it on this data first"
        )


def check_first_batch(
    distiller: Distiller,
    terms: dict[str, Tensor],
    student_maps: list[Tensor],
    batch: dict[str, Tensor],
    amp_scale: float = 1.0,
) -> None:
    """Stop unless every term with a weight is finite, not 0, and reaches all that it should train.

    Only gradients are asked for: nothing steps, and no random number is drawn.

    Args:
        distiller: whose modules must be reached.
        terms: of a batch that has boxes, before scaling.
        student_maps: neck maps of that batch.
        batch: the host's batch. Where its boxes fill a level wholly, there is no background to learn from on it.
        amp_scale: the gradient scaler's factor; float16 loses the gradient of a weak term without it.

    Raises:
        FGDError: names the term, what it fails to reach, and what to do.
    """
    if not all(student_maps[level.student_index].requires_grad for level in distiller.levels):
        raise FGDError("the student's neck is frozen, so distillation cannot train it: lower freeze=, or use plain")
    for name, term in terms.items():
        targets = _targets(distiller, name, student_maps, batch)
        if not targets:
            continue
        if not term.isfinite() or term == 0 or not term.requires_grad:
            raise FGDError(
                f"{name} is {float(term.detach()):g} on the first batch with boxes, or not finite on some level: "
                "maps of teacher or student are constant or hold NaN; check both checkpoints, or set its weight to 0"
            )
        reached = [False] * len(targets)
        for scale in {amp_scale, amp_scale**0.5, 1.0}:  # the scaler may begin where float16 overflows
            gradients = torch.autograd.grad(term * scale, list(targets.values()), retain_graph=True, allow_unused=True)
            reached = [before or _usable(gradient) for before, gradient in zip(reached, gradients, strict=True)]
        for target, usable in zip(targets, reached, strict=True):
            if not usable:
                raise FGDError(
                    f"{name} sends no usable gradient to {target} on the first batch with boxes: teacher and student "
                    "maps may be equal or dead there; check both checkpoints, or set this term's weight to 0"
                )


def _usable(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all() and gradient.any())


def _targets(
    distiller: Distiller, name: str, student_maps: list[Tensor], batch: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What a term's gradient must reach: neck maps, alignments, and the context blocks' last convolutions."""
    targets: dict[str, Tensor] = {}
    for i, level in enumerate(distiller.levels):
        B, _, H, W = student_maps[level.student_index].shape
        if name == "bg_loss" and foreground_weights(batch["bboxes"], batch["batch_idx"], B, (H, W)).all():
            continue
        targets[f"the student's neck at stride {level.stride}"] = student_maps[level.student_index]
        if name in distiller.config.feature_weights:
            targets |= _own_targets(name, level.stride, distiller.losses[i])
    return targets


def _own_targets(name: str, stride: int, loss: nn.Module) -> dict[str, Tensor]:
    """Weights of one level's loss module that a term must train."""
    targets = {}
    if loss.align is not None:
        targets[f"the alignment at stride {stride}"] = loss.align.weight
    if name == "rel_loss" and isinstance(loss, FGDLoss):
        for side in ("student", "teacher"):
            context = getattr(loss, f"{side}_context")
            targets[f"the {side} context block at stride {stride}"] = last_convolution(context).weight
    return targets


def last_convolution(module: nn.Module) -> nn.Conv2d:
    """Return the convolution that a module defines last."""
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)][-1]


def _normal(names: Mapping[int, str]) -> dict[int, str]:
    return {int(number): " ".join(str(name).lower().split()) for number, name in names.items()}
