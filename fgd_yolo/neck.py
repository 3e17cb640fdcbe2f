"""Neck maps: the feature maps that a model's detection head receives, one per stride.

This module has hooks that store the maps of a live model, `NeckEnd`, which cuts a model off at its neck, and functions
that pair the maps of two models.
"""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.errors import FGDError
from fgd_yolo.task_table import image_channels

SAME_SIZE = Fraction(1)
"""Scale of a teacher's images over the student's if both get the same."""

_LARGEST_STRIDE = 128  # of a model whose head does not record its strides


class Level(NamedTuple):
    """One pair of neck maps with the same stride.

    Args:
        stride: input pixels per cell.
        student_index: number of the student's map.
        teacher_index: number of the teacher's.
        student_channels: channels of the student's map.
        teacher_channels: channels of the teacher's.
        same_grid: whether both maps have the same cells, which they have unless the teacher sees larger images.
    """

    stride: int
    student_index: int
    teacher_index: int
    student_channels: int
    teacher_channels: int
    same_grid: bool = True


class FeatureHook:
    """Stores features of the latest forward pass of a live model until they are popped.

    Args:
        handle: handle of the registered hook, which calls `_store`.
    """

    def __init__(self, handle):
        self._stored: Any = None
        self._handle = handle

    # Not compiled: in a compiled graph the maps would be additional outputs that get no gradient of the detection loss,
    # so the gradient ratio could not be measured.
    @torch.compiler.disable
    def _store(self, features: Any) -> None:
        self._stored = features

    def pop(self) -> Any:
        """Return the features stored by the latest forward pass, and clear them.

        Raises:
            RuntimeError: the model has not run since the last call.
        """
        if self._stored is None:
            raise RuntimeError("nothing stored: the model has not run since the last pop()")
        features, self._stored = self._stored, None
        return features

    def clear(self) -> None:
        """Drop the stored features."""
        self._stored = None

    def remove(self) -> None:
        """Remove the hook from the model and drop the stored features; a second call does nothing."""
        self._handle.remove()
        self.clear()


class NeckHook(FeatureHook):
    """Stores the neck maps, finest first.

    A pre-hook on the head sees the head's input, whose first entry is the list of neck maps for every YOLO and RT-DETR.
    The list is copied, since a head may write into it; the maps themselves stay in the graph.
    """

    def __init__(self, model: nn.Module):
        super().__init__(model.model[-1].register_forward_pre_hook(lambda head, inputs: self._store(list(inputs[0]))))


class HeadHook(FeatureHook):
    """Stores the output of the head; in training that is its raw predictions.

    Args:
        model: the live model.
        part: attribute of the head whose output is stored instead.
    """

    def __init__(self, model: nn.Module, part: str | None = None):
        head = model.model[-1]
        layer = head if part is None else getattr(head, part)
        super().__init__(layer.register_forward_hook(lambda layer, inputs, output: self._store(output)))


class NeckEnd(nn.Module):
    """Replaces a head and returns the neck maps unchanged, so that the model ends at its neck."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.f, self.i, self.type = head.f, head.i, type(self).__name__  # read by the forward loop of Ultralytics

    def forward(self, maps: list[Tensor], batch: Any = None) -> list[Tensor]:
        return list(maps)  # RT-DETR passes the labels of the batch too


def pair_levels(student: nn.Module, teacher: nn.Module, scale: Fraction = SAME_SIZE) -> list[Level]:
    """Pair the neck maps of two models by stride, finest first; a stride that only one model has is left out.

    Args:
        student: complete model.
        teacher: complete model.
        scale: side of the teacher's images over that of the student's.

    Raises:
        FGDError: the models have no stride in common.
    """
    student_channels, teacher_channels = neck_channels(student), neck_channels(teacher)
    levels = [
        Level(stride, i, list(teacher_channels).index(stride), channels, teacher_channels[stride], scale == SAME_SIZE)
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
    """Describe what each stride that only one model has means for the training, finest first.

    Args:
        student: complete model.
        teacher: complete model.

    Returns:
        One line per unpaired stride.
    """
    student_strides, teacher_strides = (set(neck_strides(model)) for model in (student, teacher))
    return [
        f"stride {stride}: the teacher has no such level, so the student's level learns from the labels alone"
        if stride in student_strides
        else f"stride {stride}: the student has no such level, so the teacher's level is not used"
        for stride in sorted(student_strides ^ teacher_strides)
    ]


def neck_strides(model: nn.Module) -> list[int]:
    """Return the strides of a model's neck maps, finest first.

    A YOLO's head records them. RT-DETR's does not, and `stride` of the model is 32 for all: they are measured.
    """
    recorded = getattr(model.model[-1], "stride", None)
    return list(neck_channels(model)) if recorded is None else [int(stride) for stride in recorded]


@torch.no_grad()
def neck_channels(model: nn.Module) -> dict[int, int]:
    """Return {stride: channels} of a model's neck, finest first, by one forward pass on zeros without the head."""
    recorded = getattr(model.model[-1], "stride", None)
    image_px = 2 * max(_LARGEST_STRIDE if recorded is None else int(recorded.max()), 32)
    first = next(model.parameters())
    image = torch.zeros(1, image_channels(model.yaml), image_px, image_px, device=first.device, dtype=first.dtype)
    was_training = model.training
    model.eval()
    with _without_head(model):
        maps = model.predict(image)
    model.train(was_training)
    return {image_px // neck_map.shape[-1]: neck_map.shape[1] for neck_map in maps}


@contextmanager
def _without_head(model: nn.Module):
    """Cut a model off at its neck for a block, since a head caches its anchor grid, which must not change."""
    head = model.model[-1]
    model.model[-1] = NeckEnd(head)
    try:
        yield
    finally:
        model.model[-1] = head
