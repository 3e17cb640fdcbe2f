"""The student's maps in the teacher's frozen head, for cross-head imitation."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fgd_yolo.methods import HeadLoss
from fgd_yolo.methods.crosshead import CrossHeadLevel, crossed_maps
from fgd_yolo.neck import Level
from fgd_yolo.training.heads.head_outputs import HeadOutputs, boxes_and_scores, paired_branches
from fgd_yolo.training.step.finite_gate import FiniteGate
from fgd_yolo.training.teachers.teacher import Teacher


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
        # At the maps, not at the outputs: a gradient of 0 can become NaN within the head.
        self._gate = FiniteGate(self.losses.parameters())

    def own_outputs(self, teacher_maps: list[Tensor]) -> HeadOutputs:
        """Return what the head makes of the teacher's maps, which needs no student."""
        compared = [level.teacher_index for level in self.levels]
        head = self.teacher.frozen.head
        return HeadOutputs(head, boxes_and_scores(head, teacher_maps), compared, self.teacher.known)

    def compare(
        self, student_maps: Sequence[Tensor], teacher_maps: list[Tensor], own: HeadOutputs
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted term of each branch of the teacher's head, (branches,), and whether all are finite.

        If they are not, all are 0, and so are their gradients.

        Args:
            student_maps: neck maps of the student, with gradient.
            teacher_maps: neck maps of the teacher for the same images.
            own: `own_outputs` of these.
        """
        guarded = [self._gate.guard(student_map) for student_map in student_maps]
        indices = [(level.student_index, level.teacher_index) for level in self.levels]
        maps = crossed_maps(self._on_teachers_grids(guarded, teacher_maps), teacher_maps, indices, self.losses)
        crossed = own._replace(outputs=boxes_and_scores(own.head, maps))
        terms = [
            self._term(branch.student, list(branch.teachers.values())).terms["crosshead"]
            for branch in paired_branches(crossed, [own])
        ]
        return self._gate.close(terms), self._gate.finite

    def _on_teachers_grids(self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the student's maps, enlarged to the teacher's grids if it sees larger images."""
        maps = list(student_maps)
        for level in self.levels:
            if not level.same_grid:
                grid = teacher_maps[level.teacher_index].shape[2:]
                own = maps[level.student_index]
                maps[level.student_index] = F.interpolate(own, size=grid, mode="bilinear", align_corners=False)
        return maps
