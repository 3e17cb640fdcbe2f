"""Attention maps and masks of one image at each level, computed as in the FGD loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fgd_yolo.methods.alignment import align_maps
from fgd_yolo.methods.attention_maps import AttentionSettings
from fgd_yolo.methods.box_masks import background_weights
from fgd_yolo.neck import Level


class LevelAttention(NamedTuple):
    """Attention and masks of one image at one level, as numpy arrays.

    Args:
        stride: input pixels per cell.
        teacher: (H, W), spatial attention of the teacher, mean 1.
        students: (H, W) by name, spatial attention of each student, mean 1.
        object_mask: (H, W) bool, mask M: True for cells inside an object.
        scale_mask: (H, W), mask S: 1 / (cells of the object) inside one, 1 / (cells outside all objects) elsewhere.
        channel_differences: (C,) by name, |A_C student - A_C teacher| of each channel; empty if the widths differ.
    """

    stride: int
    teacher: np.ndarray
    students: dict[str, np.ndarray]
    object_mask: np.ndarray
    scale_mask: np.ndarray
    channel_differences: dict[str, np.ndarray]

    def spatial_difference(self, student: str) -> float:
        """Return the mean over cells of |A_S student - A_S teacher|: 0 if equal, always below 2."""
        return float(np.abs(self.students[student] - self.teacher).mean())

    def channel_difference(self, student: str) -> float | None:
        """Return the mean over channels of |A_C student - A_C teacher|, or None if the widths differ."""
        differences = self.channel_differences.get(student)
        return None if differences is None else float(differences.mean())


def compare_levels(
    levels: Sequence[Level],
    teacher_maps: Mapping[int, Tensor] | Sequence[Tensor],
    student_maps: Mapping[str, Sequence[Tensor]],
    foreground: Callable[[tuple[int, int]], Tensor],
    settings: AttentionSettings,
    aligns: Sequence[nn.Module | None],
) -> list[LevelAttention]:
    """Compute attention and masks of one image at every level that student and teacher share.

    Args:
        levels: pairs of neck maps, the same for every student.
        teacher_maps: neck maps (1, C, H, W) of the image by their number, on the grids of the students'.
        student_maps: neck maps of each student, by name.
        foreground: returns the weights (1, H, W) of the foreground on a grid (H, W) of cells, on the CPU.
        settings: settings of the attention.
        aligns: the alignment of each level, or None to use the student's maps unaligned.
    """
    return [
        compare_level(
            level.stride,
            teacher_maps[level.teacher_index],
            {name: maps[level.student_index] for name, maps in student_maps.items()},
            foreground(tuple(teacher_maps[level.teacher_index].shape[2:])),
            settings,
            align,
        )
        for level, align in zip(levels, aligns, strict=True)
    ]


@torch.no_grad()
def compare_level(
    stride: int,
    teacher_map: Tensor,
    student_maps: Mapping[str, Tensor],
    foreground: Tensor,
    settings: AttentionSettings,
    align: nn.Module | None,
) -> LevelAttention:
    """Compute attention and masks of one image at one level.

    Args:
        stride: input pixels per cell.
        teacher_map: (1, C, H, W).
        student_maps: (1, C', H, W) of each student, by name.
        foreground: (1, H, W), weights of the cells, 0 in the background; on the CPU.
        settings: settings of the attention.
        align: alignment from the students' width to the teacher's; None leaves their maps unaligned.

    Source:
        FGD, arXiv:2111.11837, section 3.1. As in the loss, the student's attention is computed after alignment.
    """
    teacher = settings.attention(teacher_map.float())
    spatial, channel_differences = {}, {}
    for name, student_map in student_maps.items():
        student = settings.attention(align_maps(student_map, teacher_map, align)[0])
        spatial[name] = _array(student.spatial)
        if student.channel.shape == teacher.channel.shape:
            channel_differences[name] = _array((student.channel - teacher.channel).abs())
    return LevelAttention(
        stride,
        _array(teacher.spatial),
        spatial,
        _array(foreground > 0),
        _array(foreground + background_weights(foreground)),
        channel_differences,
    )


def _array(values: Tensor) -> np.ndarray:
    return values[0].cpu().numpy()
