"""Several teachers in one distiller: on which levels each is compared."""

from __future__ import annotations

from dataclasses import replace

from fgd_yolo.training.step.distiller import Distiller
from fgd_yolo.training.step.loss_hook import LossHook
from training import TERMS, batch


def step(joined, teachers) -> tuple[Distiller, dict]:
    """Return a new distiller of these teachers after its first batch, and the loss items of that batch."""
    joined.loss_hook.detach()
    distiller = Distiller(teachers, joined.distiller.config)
    LossHook(joined.student, distiller.step, head=bool(distiller.heads.names)).attach()
    return distiller, joined.student(batch())[1]


def test_heads_are_compared_and_checked_on_the_levels_that_all_teachers_have(heads_joined):
    (first,) = heads_joined.distiller.teachers
    fine = replace(first, levels=first.levels[:2])
    distiller, items = step(heads_joined, [first, fine])
    assert [level.stride for level in distiller.features.levels] == [8, 16, 32]
    assert [level.stride for level in distiller.heads.levels] == [8, 16]
    assert distiller.first_batch_checked and all(items[name] > 0 for name in TERMS)


def test_teachers_without_a_common_level_can_be_given_if_heads_are_not_imitated(joined):
    (teacher,) = joined.distiller.teachers
    distiller, items = step(joined, [replace(teacher, levels=teacher.levels[:1]), teacher, replace(teacher, levels=[])])
    assert [level.stride for level in distiller.features.levels] == [8]
    assert distiller.head_teachers == [] and items["fg_loss"] > 0
