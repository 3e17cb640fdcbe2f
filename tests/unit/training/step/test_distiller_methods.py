"""The methods that compare heads in a training step: assignments, cross-head imitation and their state."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fgd_yolo.errors import UsageError
from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions
from fgd_yolo.neck import HeadHook
from fgd_yolo.training.heads.assignments import record_assignments
from fgd_yolo.training.step.distiller import HEADS_PREFIX, Distiller
from training import batch
from unit.training.conftest import join

METHODS = "bckd_cls+bckd_box+ld+dfine+crosshead"


@pytest.fixture
def build(teacher_pt, student_yaml):
    """Attach a distiller of some methods to a student."""

    def run(method: str, known: list[int] | None = None, **options):
        return join(teacher_pt, student_yaml, known, **{"method": method, **options})

    return run


def test_every_term_is_checked_on_the_first_batch_and_trains_the_student(build):
    joined = build(METHODS)
    loss, items = joined.student(batch())
    assert joined.distiller.names == [f"head_{term}" for term in METHODS.split("+")]
    assert joined.distiller.first_batch_checked and all(items[name] > 0 for name in joined.distiller.names)
    loss[-1].backward()  # of crosshead alone
    assert all(level.align.weight.grad.any() for level in joined.distiller.heads.losses)
    head = joined.student.model[-1]
    assert not any(weight.grad is not None and weight.grad.any() for weight in head.parameters())


def test_the_terms_are_those_of_the_head_loss_with_what_the_students_own_loss_assigns(build):
    """The options reach the terms: temperatures and weights are not the defaults."""
    options = {"heads.ld_temperature": 3.0, "heads.ld_weight": 2.0, "heads.dfine_temperature": 4.0}
    joined = build("bckd_cls+bckd_box+ld+dfine", known=[0, 2], **options)
    computed = {}
    joined.distiller._check_first_batch = lambda terms, *_: computed.update(terms)
    head_hook = HeadHook(joined.student)
    with record_assignments(joined.student) as recorded:
        joined.student(batch())
    own = Predictions(**_outputs(head_hook), **recorded["one2many"])
    frozen = joined.distiller.teachers[0].frozen
    other = frozen.predictions(frozen(batch()["img"]))["one2many"]
    weights = {"bckd_cls": 1.0, "bckd_box": 4.0, "ld": 2.0, "dfine": 1.5}
    loss = HeadLoss(weights, {"ld": 3.0, "dfine": 4.0})
    wanted = loss(own, [TeacherPredictions(Predictions(other["boxes"], other["scores"]), [0, 2])]).terms
    assert all(term > 0 for term in wanted.values())
    for name, term in wanted.items():
        torch.testing.assert_close(computed[f"head_{name}"], term)


def _outputs(head_hook: HeadHook) -> dict[str, torch.Tensor]:
    outputs = head_hook.pop()
    return {"boxes": outputs["boxes"], "scores": outputs["scores"]}


def test_a_batch_without_a_class_that_the_teacher_knows_is_not_checked_for_a_term_of_labelled_boxes(build):
    joined = build("ld", known=[2])
    unknown = batch()  # all boxes have class 0
    assert joined.student(unknown)[1]["head_ld"] == 0 and not joined.distiller.first_batch_checked
    known = {**unknown, "cls": torch.full_like(unknown["cls"], 2)}
    assert joined.student(known)[1]["head_ld"] > 0 and joined.distiller.first_batch_checked


def test_alignments_of_the_heads_are_restored_beside_those_of_the_features(build):
    joined, other = build("fgd+crosshead"), build("fgd+crosshead")
    state = joined.distiller.state_dict()
    for tensor in state["losses"].values():
        tensor.add_(1)
    other.distiller.load_state_dict(state)
    assert {name.startswith(HEADS_PREFIX) for name in state["losses"]} == {True, False}
    for mine, theirs in zip(joined.distiller.trained.parameters(), other.distiller.trained.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("method", ["bckd_cls", "crosshead"])
def test_methods_that_no_teacher_can_teach_are_refused_naming_them(build, method):
    joined = build(method)
    (teacher,) = joined.distiller.teachers
    with pytest.raises(UsageError, match=f"no teacher can teach {method} to this student: add a method.*fgd"):
        Distiller([replace(teacher, terms=())], joined.distiller.config)


def test_maps_cross_over_into_the_head_of_the_teacher_of_the_features(build):
    joined = build("crosshead")
    (teacher,) = joined.distiller.teachers
    second = replace(teacher, name="second.pt")
    chosen = Distiller([teacher, second], joined.distiller.config.replace(**{"features.teacher": 2}))
    assert chosen.crossed_head.teacher is second and chosen.head_teachers == [second]
