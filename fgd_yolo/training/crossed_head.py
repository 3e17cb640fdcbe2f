"""The student's maps in the teacher's frozen head, for cross-head imitation."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fgd_yolo.methods import HeadLoss, Predictions
from fgd_yolo.methods.crosshead import CrossHeadLevel, crossed_maps
from fgd_yolo.neck import Level
from fgd_yolo.training.finite_gate import FiniteGate
from fgd_yolo.training.head_outputs import HeadOutputs, boxes_and_scores, paired_branches
from fgd_yolo.training.teacher import Teacher


class CrossedHead:
    """Compares what a teacher's head makes of the student's maps with what it makes of the teacher's own.

    Args:
        teacher: its head is used, and stays as it is.
        levels: pairs of neck maps that are compared; other levels of the head get the teacher's own map.
        weight: factor of the term.
    """

    def __init__(self, teacher: Teacher, levels: Sequence[Level], weight: float):
        self.teacher, self.levels = teacher, list(levels)
        self.losses = nn.ModuleList(
            CrossHeadLevel(level.student_channels, level.teacher_channels) for level in self.levels
        )
        self._term = HeadLoss({"crosshead": weight})

    def compare(self, student_maps: Sequence[Tensor], teacher_maps: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the weighted term of each branch of the teacher's head, 0 if it is not finite, and whether it is.

        Args:
            student_maps: neck maps of the student, with gradient.
            teacher_maps: neck maps of the teacher for the same images.
        """
        head = self.teacher.frozen.head
        student_maps = self._on_teachers_grids(student_maps, teacher_maps)
        indices = [(level.student_index, level.teacher_index) for level in self.levels]
        maps = crossed_maps(student_maps, teacher_maps, indices, self.losses)
        compared = [level.teacher_index for level in self.levels]
        crossed, own = (
            HeadOutputs(head, boxes_and_scores(head, neck_maps), compared, self.teacher.known)
            for neck_maps in (maps, teacher_maps)
        )
        compared = []
        for branch in paired_branches(crossed, [own]):
            gate = FiniteGate()
            guarded = Predictions(*map(gate.guard, branch.student))
            terms = gate.close(self._term(guarded, list(branch.teachers.values())).terms.values())
            compared.append((terms[0], gate.finite))
        return compared

    def _on_teachers_grids(self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the student's maps, enlarged to the teacher's grids if it sees larger images."""
        maps = list(student_maps)
        for level in self.levels:
            if not level.same_grid:
                grid = teacher_maps[level.teacher_index].shape[2:]
                own = maps[level.student_index]
                maps[level.student_index] = F.interpolate(own, size=grid, mode="bilinear", align_corners=False)
        return maps
