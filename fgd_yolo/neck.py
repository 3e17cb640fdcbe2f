"""Neck maps: what the detection head of a model receives, one map per stride."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.errors import FGDError


class Level(NamedTuple):
    """One pair of neck maps with the same stride (input pixels per cell)."""

    stride: int
    student_index: int
    teacher_index: int
    student_channels: int
    teacher_channels: int


class FeatureHook:
    """Keeps something of each forward pass of a live model, until it is taken once."""

    def __init__(self, handle):
        self._kept: Any = None
        self._handle = handle

    # Kept out of a compiled graph: inside it the maps would be side outputs, which no gradient of the detection
    # loss passes through, and the share of the distillation could not be measured.
    @torch.compiler.disable
    def _keep(self, found: Any) -> None:
        self._kept = found

    def pop(self) -> Any:
        """Return what was kept of the latest forward pass, and forget it.

        Raises:
            RuntimeError: no forward pass since the last call.
        """
        if self._kept is None:
            raise RuntimeError("nothing to take: the model has not run since it was last taken")
        found, self._kept = self._kept, None
        return found

    def forget(self) -> None:
        """Drop what was kept."""
        self._kept = None

    def close(self) -> None:
        """Remove the hook and drop what it kept; a second call does nothing."""
        self._handle.remove()
        self.forget()


class NeckHook(FeatureHook):
    """Keeps the neck maps, finest first.

    A pre-hook on the head sees its input, which is the list of neck maps for every YOLO. The list is copied, since
    a head may write into it; the maps themselves stay in the graph.
    """

    def __init__(self, model: nn.Module):
        super().__init__(model.model[-1].register_forward_pre_hook(lambda head, inputs: self._keep(list(inputs[0]))))


class HeadHook(FeatureHook):
    """Keeps what the head returns; in training that is its raw outputs."""

    def __init__(self, model: nn.Module):
        super().__init__(model.model[-1].register_forward_hook(lambda head, inputs, found: self._keep(found)))


class NeckEnd(nn.Module):
    """Stands where a head was and hands the neck maps through, so that the model ends at its neck."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.f, self.i, self.type = head.f, head.i, type(self).__name__  # what the host's forward loop reads

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return list(maps)


def pair_levels(student: nn.Module, teacher: nn.Module) -> list[Level]:
    """Pair the neck maps of two models by stride, finest first; a stride that only one has is left out.

    Raises:
        FGDError: the models have no stride in common.
    """
    student_channels, teacher_channels = neck_channels(student), neck_channels(teacher)
    levels = [
        Level(stride, i, list(teacher_channels).index(stride), channels, teacher_channels[stride])
        for i, (stride, channels) in enumerate(student_channels.items())
        if stride in teacher_channels
    ]
    if not levels:
        raise FGDError(
            f"student (strides {list(student_channels)}) and teacher (strides {list(teacher_channels)}) have no "
            "neck stride in common: choose models that share at least one, such as any P3-P5 YOLO"
        )
    return levels


def unpaired_levels(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Return what follows for each stride that only one of two models has, finest first; nothing where all are paired.

    Args:
        student: whose head knows its strides.
        teacher: likewise.
    """
    mine, theirs = ({int(stride) for stride in model.stride} for model in (student, teacher))
    return [
        f"stride {stride}: the teacher has no such level, so the student's learns from the labels alone"
        if stride in mine
        else f"stride {stride}: the student has no such level, so what the teacher sees there is not passed on"
        for stride in sorted(mine ^ theirs)
    ]


@torch.no_grad()
def neck_channels(model: nn.Module) -> dict[int, int]:
    """Return {stride: channels} of a model's neck, finest first, by running it once on zeros without its head."""
    image_px = 2 * max(int(model.stride.max()), 32)
    first = next(model.parameters())
    image = torch.zeros(1, model.yaml.get("channels", 3), image_px, image_px, device=first.device, dtype=first.dtype)
    was_training = model.training
    model.eval()
    with _without_head(model):
        maps = model.predict(image)
    model.train(was_training)
    return {image_px // neck_map.shape[-1]: neck_map.shape[1] for neck_map in maps}


@contextmanager
def _without_head(model: nn.Module):
    """Run a model up to its neck only: a head caches its anchor grid, which a probe must not change."""
    head = model.model[-1]
    model.model[-1] = NeckEnd(head)
    try:
        yield
    finally:
        model.model[-1] = head
