"""What FGD sees of one image on one level: the attention as its loss takes it, and its masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fgd_yolo.methods.alignment import comparable, standardised
from fgd_yolo.methods.attention_maps import Attention, attention, capped
from fgd_yolo.methods.box_masks import background_weights, foreground_weights
from fgd_yolo.neck import Level


class Lens(NamedTuple):
    """How attention is taken of a map: as the loss does that a configuration asks for.

    Args:
        temperature: T of both attentions.
        scale: "paper" takes the map as it is; "free" standardises its channels first, and caps the attention.
    """

    temperature: float
    scale: str

    def attention(self, feature_map: Tensor) -> Attention:
        """Return the attention of a (B, C, H, W) map.

        With "free" a channel is standardised over the cells at hand, of one image where there is one; the loss has
        those of a batch.
        """
        if self.scale == "paper":
            return attention(feature_map, self.temperature)
        return capped(attention(standardised(feature_map), self.temperature))


class LevelView(NamedTuple):
    """One image on one level; every array is numpy.

    Args:
        stride: input pixels per cell.
        teacher: (H, W), spatial attention of the teacher, mean 1.
        students: (H, W) by name, spatial attention of each student, mean 1.
        inside: (H, W) bool, mask M: the cells that a box fills.
        size_weight: (H, W), mask S: 1 / (cells of the box) inside, 1 / (cells without a box) elsewhere.
        channel_gaps: (C,) by name, |A_C student - A_C teacher| of each channel; empty where the widths differ.
    """

    stride: int
    teacher: np.ndarray
    students: dict[str, np.ndarray]
    inside: np.ndarray
    size_weight: np.ndarray
    channel_gaps: dict[str, np.ndarray]

    def spatial_gap(self, student: str) -> float:
        """Return the mean over cells of |A_S student - A_S teacher|: 0 for equal attention, below 2 for any."""
        return float(np.abs(self.students[student] - self.teacher).mean())

    def channel_gap(self, student: str) -> float | None:
        """Return the mean over channels of |A_C student - A_C teacher|, or None where they cannot be compared."""
        gaps = self.channel_gaps.get(student)
        return None if gaps is None else float(gaps.mean())


def view_levels(
    levels: Sequence[Level],
    teacher_maps: Sequence[Tensor],
    student_maps: Mapping[str, Sequence[Tensor]],
    boxes: Tensor,
    lens: Lens,
    aligns: Sequence[nn.Module | None],
) -> list[LevelView]:
    """Look at one image on every level that student and teacher share.

    Args:
        levels: pairs of neck maps, the same for every student.
        teacher_maps: neck maps (1, C, H, W) of the image.
        student_maps: those of each student, by name.
        boxes: (M, 4), as `view_level` takes them.
        lens: how attention is taken.
        aligns: the alignment of each level, or None where the student's maps are looked at as they are.
    """
    return [
        view_level(
            level.stride,
            teacher_maps[level.teacher_index],
            {name: maps[level.student_index] for name, maps in student_maps.items()},
            boxes,
            lens,
            align,
        )
        for level, align in zip(levels, aligns, strict=True)
    ]


@torch.no_grad()
def view_level(
    stride: int,
    teacher_map: Tensor,
    student_maps: Mapping[str, Tensor],
    boxes: Tensor,
    lens: Lens,
    align: nn.Module | None,
) -> LevelView:
    """Look at one image on one level.

    Args:
        stride: input pixels per cell.
        teacher_map: (1, C, H, W).
        student_maps: (1, C', H, W) of each student, by name.
        boxes: (M, 4), x centre, y centre, width, height as fractions of the network's input; on the CPU.
        lens: how attention is taken.
        align: from the students' width to the teacher's; None leaves their maps as they are.

    Source:
        FGD, arXiv:2111.11837, section 3.1. As in the loss, attention is that of the aligned student.
    """
    focus = lens.attention(teacher_map.float())
    students, channel_gaps = {}, {}
    for name, student_map in student_maps.items():
        mine = lens.attention(comparable(student_map, teacher_map, align)[0])
        students[name] = _array(mine.spatial)
        if mine.channel.shape == focus.channel.shape:
            channel_gaps[name] = _array((mine.channel - focus.channel).abs())
    foreground = foreground_weights(boxes, torch.zeros(len(boxes), dtype=torch.long), 1, teacher_map.shape[2:])
    return LevelView(
        stride,
        _array(focus.spatial),
        students,
        _array(foreground > 0),
        _array(foreground + background_weights(foreground)),
        channel_gaps,
    )


def _array(values: Tensor) -> np.ndarray:
    return values[0].cpu().numpy()
