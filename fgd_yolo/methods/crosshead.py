"""Cross-head imitation: the student's maps are judged by what the teacher's frozen head makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fgd_yolo.methods.alignment import alignment, check_same_cells
from fgd_yolo.methods.box_terms import box_term
from fgd_yolo.methods.class_term import class_term
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums


class CrossHeadLevel(nn.Module):
    """Prepares the student's map of one level for the teacher's head.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
    """

    def __init__(self, student_channels: int, teacher_channels: int):
        super().__init__()
        self.align = alignment(student_channels, teacher_channels)

    def forward(self, student_map: Tensor) -> Tensor:
        """Return the map (B, student_channels, H, W) in the teacher's width."""
        return student_map if self.align is None else self.align(student_map)

    def trained_weights(self, item: str) -> dict[str, Tensor]:
        """Return the weights that the gradient of a loss item must reach, by their name in error messages."""
        return {} if self.align is None or item != "head_crosshead" else {"alignment": self.align.weight}

    def is_empty(self, item: str, *_) -> bool:
        """Return False: the heads' terms cover every cell, with or without objects."""
        return False


def crossed_maps(
    student_maps: Sequence[Tensor],
    teacher_maps: Sequence[Tensor],
    indices: Sequence[tuple[int, int]],
    levels: Sequence[nn.Module],
) -> list[Tensor]:
    """Return the maps for the teacher's head: the student's where it has the level, the teacher's own elsewhere.

    Args:
        student_maps: neck maps of the student, with gradient.
        teacher_maps: neck maps of the teacher.
        indices: numbers of the student's and the teacher's map of each shared level.
        levels: module of each shared level, such as `CrossHeadLevel`.

    Raises:
        ValueError: two maps of one level differ in batch size or grid.
    """
    maps = [teacher_map.detach() for teacher_map in teacher_maps]
    for (student_index, teacher_index), level in zip(indices, levels, strict=True):
        own, other = student_maps[student_index], maps[teacher_index]
        check_same_cells(own, other)
        maps[teacher_index] = level(own)
    return maps


def crosshead_term(crossed: Predictions, targets: Sequence[HeadTarget]) -> Sums:
    """Compare what the teacher's head makes of the student's maps with what it makes of the teacher's own.

    Convention:
        The sum of `class_term` and `box_term`, each with its own divisor. The gradient passes through the frozen head
        to the student's neck and the alignments; the student's own head gets none.

    Args:
        crossed: outputs of the teacher's head for the student's maps, on the shared levels.
        targets: the teacher's own outputs on these levels.

    Source:
        CrossKD, arXiv:2306.11369, section 3. There the maps cross over inside the heads, which have one width; here
        at the neck, through a 1x1 convolution where the widths differ. Its losses are replaced by the terms above.
    """
    terms = [sums for sums in (class_term(crossed, targets), box_term(crossed, targets)) if sums is not None]
    cost = sum(sums.cost / sums.divisor.clamp(min=1) for sums in terms)
    return Sums(cost, cost.new_ones(()))
