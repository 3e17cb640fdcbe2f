"""The check on the first training batch with boxes: every term is finite and reaches the weights it should train."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from fgd_yolo.errors import FGDError
from fgd_yolo.methods import LabelledObjects, LevelLoss
from fgd_yolo.neck import Level


def check_first_batch(
    terms: dict[str, Tensor],
    levels: list[Level],
    losses: Sequence[LevelLoss],
    student_maps: list[Tensor],
    objects: Sequence[LabelledObjects],
    amp_scale: float = 1.0,
    sparse: Collection[str] = (),
) -> None:
    """Stop unless every term with a weight is finite, not 0, and reaches all weights that it should train.

    Only gradients are computed: no weight changes, and no random number is drawn.

    Args:
        terms: unscaled terms of a batch that has boxes, by the name of the loss item.
        levels: pairs of neck maps.
        losses: loss modules of the terms, one per level; empty if the terms have no trainable modules.
        student_maps: the student's neck maps of that batch.
        objects: labelled objects of each level. If they fill a level completely, it has no background to learn from.
        sparse: loss items that need reach only some of the weights, since they compare few anchors.
        amp_scale: the gradient scaler's factor; float16 loses the gradient of a weak term without it.

    Raises:
        FGDError: a term fails the check; the message names it, what it fails to reach, and the remedy.
    """
    if not all(student_maps[level.student_index].requires_grad for level in levels):
        raise FGDError(
            "the student's neck is frozen, so distillation cannot train it: lower freeze=, or set all weights to 0"
        )
    for name, term in terms.items():
        targets = _targets(name, levels, losses, student_maps, objects)
        if not targets:
            continue
        if not term.isfinite() or term == 0 or not term.requires_grad:
            raise FGDError(
                f"{name} is {float(term.detach()):g} on the first batch with boxes, or not finite on some level: "
                "maps of teacher or student are constant or hold NaN; check both checkpoints, or set its weight to 0"
            )
        reached = [False] * len(targets)
        for scale in {amp_scale, amp_scale**0.5, 1.0}:  # the scaler's initial factor may overflow float16
            gradients = torch.autograd.grad(term * scale, list(targets.values()), retain_graph=True, allow_unused=True)
            reached = [before or _usable(gradient) for before, gradient in zip(reached, gradients, strict=True)]
        if name in sparse and any(reached):
            continue
        for target, usable in zip(targets, reached, strict=True):
            if not usable:
                raise FGDError(
                    f"{name} sends no usable gradient to {target} on the first batch with boxes: teacher and student "
                    "maps may be equal or dead there; check both checkpoints, or set this term's weight to 0"
                )


def _usable(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all() and gradient.any())


def _targets(
    name: str,
    levels: list[Level],
    losses: Sequence[LevelLoss],
    student_maps: list[Tensor],
    objects: Sequence[LabelledObjects],
) -> dict[str, Tensor]:
    """Return the tensors that a term's gradient must reach: neck maps, and the weights that the loss modules name."""
    targets: dict[str, Tensor] = {}
    for i, level in enumerate(levels):
        student_map = student_maps[level.student_index]
        B, _, H, W = student_map.shape
        own = objects[i]
        if losses and losses[i].is_empty(name, own.boxes, own.image_index, B, (H, W), own.foreground):
            continue
        targets[f"the student's neck at stride {level.stride}"] = student_map
        trained = losses[i].trained_weights(name) if losses else {}
        targets |= {f"the {part} at stride {level.stride}": weight for part, weight in trained.items()}
    return targets
