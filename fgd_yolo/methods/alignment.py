"""Make a student's map comparable with its teacher's: same width, grid and precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def alignment(student_channels: int, teacher_channels: int) -> nn.Conv2d | None:
    """Return a 1x1 convolution from the student's width to the teacher's, or None if they are equal."""
    if student_channels == teacher_channels:
        return None
    return nn.Conv2d(student_channels, teacher_channels, kernel_size=1)


def align_maps(student_map: Tensor, teacher_map: Tensor, align: nn.Conv2d | None) -> tuple[Tensor, Tensor]:
    """Return both maps in the teacher's width and at least in float32, the teacher's without gradient.

    Raises:
        ValueError: the maps differ in batch size or grid, so their cells do not correspond.
    """
    if student_map.shape[0] != teacher_map.shape[0] or student_map.shape[2:] != teacher_map.shape[2:]:
        raise ValueError(
            f"student map {tuple(student_map.shape)} and teacher map {tuple(teacher_map.shape)} must share "
            "batch size and grid (B, ., H, W)"
        )
    student_map, teacher_map = at_least_float32(student_map), at_least_float32(teacher_map.detach())
    return student_map if align is None else align(student_map), teacher_map


def at_least_float32(values: Tensor) -> Tensor:
    """Return float64 unchanged and every other dtype as float32, since sums over a map overflow float16."""
    return values if values.dtype == torch.float64 else values.float()


def standardised(feature_map: Tensor) -> Tensor:
    """Return a (B, C, H, W) map with mean 0 and variance 1 in every channel over the batch; a constant channel is 0.

    The result shows where a channel is high and where it is low. The scale of its values, which differs a thousandfold
    between channels and between teachers, is removed.
    """
    if feature_map[:, :1].numel() == 1:  # batch_norm refuses a single value, which equals its mean
        return feature_map - feature_map
    return nn.functional.batch_norm(feature_map, None, None, training=True)
