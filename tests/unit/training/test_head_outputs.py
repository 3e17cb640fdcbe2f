"""The outputs of two heads are paired by branch and by stride."""

from __future__ import annotations

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions
from fgd_yolo.neck import HeadHook, NeckHook, pair_levels
from fgd_yolo.training.distiller import Distiller
from fgd_yolo.training.head_outputs import keep_both_branches, paired_branches, run_branches
from fgd_yolo.training.loss_hook import LossHook
from fgd_yolo.training.teacher import FrozenTeacher
from training import batch

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def model(name: str) -> DetectionModel:
    torch.manual_seed(0)
    return DetectionModel(name, nc=3, verbose=False)


def trained_output(student: DetectionModel) -> dict:
    hook = HeadHook(student)
    student.train()(IMAGE)
    return hook.pop()


@pytest.mark.parametrize(
    ("student", "teacher", "branches"),
    [("yolov8n.yaml", "yolov8s.yaml", 1), ("yolo26n.yaml", "yolov8s.yaml", 1), ("yolo26n.yaml", "yolo26s.yaml", 2)],
)
def test_branches_that_both_heads_have_are_paired(student, teacher, branches):
    student, teacher = model(student), model(teacher)
    frozen = FrozenTeacher(teacher, torch.device("cpu"), heads=True)
    pairs = paired_branches(
        trained_output(student), frozen.predictions(frozen(IMAGE)), pair_levels(student, model("yolov8s.yaml"))
    )
    assert len(pairs) == branches
    for student_output, teacher_output in pairs:
        assert student_output.scores.shape == teacher_output.scores.shape == (2, 3, 8 * 8 + 4 * 4 + 2 * 2)
        assert student_output.scores.requires_grad and not teacher_output.scores.requires_grad


def test_levels_that_only_one_head_has_are_left_out():
    student, teacher = model("yolov8n-p2.yaml"), model("yolov8n.yaml")
    levels = pair_levels(student, teacher)
    teacher.train()
    outputs = trained_output(student)
    ((student_output, teacher_output),) = paired_branches(outputs, trained_output(teacher), levels)
    cells = [neck_map.shape[2] * neck_map.shape[3] for neck_map in outputs["feats"]]
    assert torch.equal(student_output.scores, outputs["scores"][..., cells[0] :])
    assert student_output.boxes.shape == teacher_output.boxes.shape


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_a_frozen_teachers_head_predicts_the_same_as_the_complete_teacher(name):
    complete, cut = model(name).eval(), model(name)
    frozen = FrozenTeacher(cut, torch.device("cpu"), heads=True)
    with torch.no_grad():
        _, expected = complete(IMAGE)
    outputs = frozen.predictions(frozen(IMAGE))
    expected = expected if "one2many" in expected else {"one2many": expected}
    assert outputs.keys() == expected.keys()
    for branch in expected:
        for name in ("boxes", "scores"):
            torch.testing.assert_close(outputs[branch][name], expected[branch][name], rtol=1e-3, atol=1e-3)


def test_fuse_does_not_remove_a_branch_that_is_imitated():
    teacher = model("yolo26n.yaml")
    keep_both_branches(teacher.model[-1])
    head = teacher.fuse(verbose=False).model[-1]
    hook = NeckHook(teacher)
    teacher.eval()(IMAGE)
    assert set(run_branches(head, hook.pop())) == {"one2many", "one2one"}


def test_dropped_classes_are_not_imitated_and_do_not_weight_boxes(heads_joined):
    """The expected value is the loss of heads that have only the remaining class."""
    all_classes, student = heads_joined.distiller, heads_joined.student
    heads_joined.loss_hook.detach()
    one_class = Distiller(all_classes.teacher, all_classes.levels, all_classes.config, classes=[1])
    computed = {}
    one_class._check_first_batch = lambda terms, *_: computed.update(terms)
    head_hook = HeadHook(student)
    LossHook(student, one_class.step, head=True).attach()
    student(batch())
    outputs = head_hook.pop()
    teacher_output = all_classes.teacher.predictions(all_classes.teacher(batch()["img"]))
    one = [Predictions(side["boxes"], side["scores"][:, 1:2]) for side in (outputs, teacher_output["one2many"])]
    heads = all_classes.config.heads
    loss = HeadLoss({"cls": heads.cls_weight, "box": heads.box_weight})
    wanted = loss(one[0], [TeacherPredictions(one[1])]).terms.values()
    torch.testing.assert_close(torch.stack([computed["head_cls"], computed["head_box"]]), torch.stack([*wanted]))
    (gradient,) = torch.autograd.grad(computed["head_cls"], outputs["scores"])
    assert not gradient[:, [0, 2]].any() and gradient[:, 1].any()
