"""The models whose attention is compared: a teacher, one student before and after, and the alignments between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fgd_yolo.errors import FGDError
from fgd_yolo.neck import Level, NeckHook, neck_channels, pair_levels
from fgd_yolo.task_table import image_channels
from fgd_yolo.ultralytics import load_model

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class AttentionModels:
    """A teacher and two states of one student.

    Args:
        teacher: a complete model.
        students: the student's states by name, `BEFORE` and `AFTER`.
        levels: pairs of neck maps.
    """

    teacher: nn.Module
    students: dict[str, nn.Module]
    levels: list[Level]

    @property
    def stride(self) -> int:
        """Largest stride of all models; the side of the network's input must be a multiple of it."""
        return max(int(model.stride.max()) for model in (self.teacher, *self.students.values()))

    @property
    def channels(self) -> int:
        """Number of channels of the images that all models take."""
        return image_channels(self.teacher.yaml)


def load_models(teacher: Path, before: Path | nn.Module, after: Path, device: torch.device) -> AttentionModels:
    """Load the models in eval mode.

    Args:
        teacher: checkpoint.
        before: checkpoint, or a model in memory.
        after: checkpoint of the same architecture.
        device: device to run on.

    Raises:
        FGDError: a file is not a YOLO, the two students differ in architecture, no stride is in common, or teacher
            and students take images of different channels.
    """
    teacher_model, _ = load_model(teacher)
    after_model, _ = load_model(after)
    before_model = before if isinstance(before, nn.Module) else load_model(before)[0]
    widths = [neck_channels(model) for model in (before_model, after_model)]
    if widths[0] != widths[1]:
        raise FGDError(
            f"before and after are not the same student (channels by stride {widths[0]} and {widths[1]}): "
            "give two checkpoints of one architecture"
        )
    channels = image_channels(teacher_model.yaml)
    for state, model in ((BEFORE, before_model), (AFTER, after_model)):
        if image_channels(model.yaml) != channels:
            raise FGDError(
                f"teacher {teacher} reads {channels}-channel images, student '{state}' {image_channels(model.yaml)}: "
                "give models of the same images"
            )
    levels = pair_levels(after_model, teacher_model)
    students = {BEFORE: before_model, AFTER: after_model}
    for model in (teacher_model, *students.values()):
        model.to(device).eval()
    return AttentionModels(teacher_model, students, levels)


def build_alignments(
    losses: Mapping[str, Tensor], levels: list[Level], methods: Sequence[str]
) -> list[nn.Module | None] | None:
    """Build the alignments from the weights of the loss modules, or return None if they do not fit the levels.

    Args:
        losses: weights by name, such as `0.align.weight`; the number is the index of the level.
        levels: pairs of neck maps.
        methods: methods that compared the maps, at least one. Of several, which have an alignment each, that of the
            first is taken.
    """
    within = f"losses.{methods[0]}." if len(methods) > 1 else ""
    aligns: list[nn.Module | None] = []
    for number, level in enumerate(levels):
        if level.student_channels == level.teacher_channels:
            aligns.append(None)
            continue
        align = nn.Conv2d(level.student_channels, level.teacher_channels, kernel_size=1)
        weights = {name: losses.get(f"{number}.{within}align.{name}") for name in ("weight", "bias")}
        if any(value is None or value.shape != getattr(align, name).shape for name, value in weights.items()):
            return None
        align.load_state_dict(weights)
        aligns.append(align)
    return aligns


@torch.no_grad()
def neck_maps(model: nn.Module, image: Tensor) -> tuple[list[Tensor], Tensor | tuple]:
    """Run a complete model once and return its neck maps, finest first, and its outputs."""
    hook = NeckHook(model)
    try:
        outputs = model(image)
        return hook.pop(), outputs
    finally:
        hook.remove()
