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
    check_same_cells(student_map, teacher_map)
    return align_student(student_map, align), at_least_float32(teacher_map.detach())


def check_same_cells(student_map: Tensor, teacher_map: Tensor) -> None:
    """Refuse maps whose cells do not correspond.

    Raises:
        ValueError: the maps differ in batch size or grid.
    """
    if student_map.shape[0] != teacher_map.shape[0] or student_map.shape[2:] != teacher_map.shape[2:]:
        raise ValueError(
            f"student map {tuple(student_map.shape)} and teacher map {tuple(teacher_map.shape)} must share "
            "batch size and grid (B, ., H, W)"
        )


def align_student(student_map: Tensor, align: nn.Conv2d | None) -> Tensor:
    """Return a student's map in the teacher's width and at least in float32."""
    student_map = at_least_float32(student_map)
    return student_map if align is None else align(student_map)


def at_least_float32(values: Tensor) -> Tensor:
    """Return float64 unchanged and every other dtype as float32, since sums over a map overflow float16."""
    return values if values.dtype == torch.float64 else values.float()
