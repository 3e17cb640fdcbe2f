"""The student's maps go through the teacher's frozen head, and the gradient comes back through it."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions
from fgd_yolo.neck import NeckHook, pair_levels
from fgd_yolo.task_table import task_of_yaml
from fgd_yolo.training.step.crossed_head import CrossedHead
from fgd_yolo.training.teachers.teacher import FrozenTeacher, Teacher
from fgd_yolo.ultralytics import read_architecture

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def model(name: str):
    torch.manual_seed(0)
    return task_of_yaml(read_architecture(name)).model(name, nc=3, verbose=False)


def crossed(student: str, teacher: str, known: list[int] | None = None):
    """Return the module, the student's maps with gradient, and the teacher's maps."""
    student, teacher = model(student).train(), model(teacher)
    levels = pair_levels(student, teacher)
    frozen = FrozenTeacher(teacher, torch.device("cpu"), heads=True)
    hook = NeckHook(student)
    student(IMAGE)
    own = Teacher("teacher.pt", frozen, levels, known)
    return CrossedHead(own, levels, weight=2.0), hook.pop(), frozen(IMAGE)


def compare(head: CrossedHead, student_maps, teacher_maps) -> torch.Tensor:
    """Return the terms of the branches."""
    with torch.no_grad():
        own = head.own_outputs(teacher_maps)
    return head.compare(student_maps, teacher_maps, own)[0]


@pytest.mark.parametrize(
    ("student", "teacher", "branches"),
    [
        ("yolov8n.yaml", "yolov8s.yaml", 1),
        ("yolov8n.yaml", "yolo26s.yaml", 2),
        ("yolov8n.yaml", "yolov8n-p2.yaml", 1),
        ("yolov8n-obb.yaml", "yolo11s-obb.yaml", 1),
        ("yolov8n-seg.yaml", "yolo26n-seg.yaml", 2),
    ],
)
def test_the_gradient_reaches_every_level_and_alignment_but_not_the_teacher(student, teacher, branches):
    head, student_maps, teacher_maps = crossed(student, teacher)
    terms = compare(head, student_maps, teacher_maps)
    assert len(terms) == branches and all(term.isfinite() and term > 0 for term in terms)
    trained = [loss.align.weight for loss in head.losses if loss.align is not None]
    for gradient in torch.autograd.grad(sum(terms), [*student_maps, *trained]):
        assert gradient.isfinite().all() and gradient.any()
    assert not any(weight.requires_grad for weight in head.teacher.frozen.head.parameters())
    assert not any(neck_map.requires_grad for neck_map in teacher_maps)


def test_a_level_that_the_student_lacks_gets_the_teachers_own_map_and_is_not_compared():
    head, student_maps, teacher_maps = crossed("yolov8n.yaml", "yolov8n-p2.yaml")
    assert len(student_maps) == 3 and len(teacher_maps) == 4
    term = compare(head, student_maps, teacher_maps)
    changed = [teacher_maps[0] + 1, *teacher_maps[1:]]
    assert torch.equal(compare(head, student_maps, changed), term)


def test_classes_that_the_teacher_does_not_know_are_not_compared():
    """The expected value is that of heads which have only the known class."""
    head, student_maps, teacher_maps = crossed("yolov8n.yaml", "yolov8n.yaml", known=[1])
    for layers in head.teacher.frozen.head.cv3:
        layers[-1].bias.copy_(torch.tensor([2.0, -1.0, 1.0]))  # otherwise no class counts at the start of a training
    (term,) = compare(head, student_maps, teacher_maps)
    outputs = []
    for maps in (student_maps, teacher_maps):
        frozen = head.teacher.frozen.head
        raw = frozen.forward_head(maps, **frozen.one2many)
        outputs.append(Predictions(raw["boxes"], raw["scores"][:, 1:2]))
    wanted = HeadLoss({"cls": 2.0, "box": 2.0})(outputs[0], [TeacherPredictions(outputs[1])]).terms
    assert term.item() == pytest.approx(sum(wanted.values()).item(), rel=1e-4)


def test_a_student_with_the_maps_of_its_teacher_has_no_loss():
    head, _, teacher_maps = crossed("yolov8n.yaml", "yolov8n.yaml")
    assert compare(head, teacher_maps, teacher_maps).item() == pytest.approx(0, abs=1e-6)


def test_an_overflow_within_the_head_sends_no_gradient_to_student_and_alignments():
    head, student_maps, teacher_maps = crossed("yolov8n.yaml", "yolov8s.yaml")
    with torch.no_grad():
        own = head.own_outputs(teacher_maps)
        head.teacher.frozen.head.cv3[0][0].conv.weight.fill_(3e38)  # only the student's maps pass it from now on
    terms, finite = head.compare(student_maps, teacher_maps, own)
    assert not finite and terms.tolist() == [0]
    trained = [loss.align.weight for loss in head.losses]
    for gradient in torch.autograd.grad(terms.sum(), [*student_maps, *trained]):
        assert not gradient.any()
