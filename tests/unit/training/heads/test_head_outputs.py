"""The outputs of two heads are paired by branch and by stride."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn
from ultralytics.nn.tasks import DetectionModel, SegmentationModel
from ultralytics.utils import ROOT
from ultralytics.utils.tal import make_anchors

from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions
from fgd_yolo.neck import HeadHook, NeckHook, pair_levels
from fgd_yolo.task_table import task_of_yaml
from fgd_yolo.training.heads.head_outputs import (
    HeadOutputs,
    keep_both_branches,
    paired_branches,
    read_outputs,
    run_branches,
)
from fgd_yolo.training.step.distiller import Distiller
from fgd_yolo.training.step.loss_hook import LossHook
from fgd_yolo.training.teachers.teacher import FrozenTeacher
from fgd_yolo.ultralytics import read_architecture
from training import batch

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def model(name: str) -> DetectionModel:
    torch.manual_seed(0)
    return task_of_yaml(read_architecture(name)).model(name, nc=3, verbose=False)


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
        HeadOutputs(student.model[-1], trained_output(student), [0, 1, 2]),
        [HeadOutputs(frozen.head, frozen.predictions(frozen(IMAGE)), [0, 1, 2])],
    )
    assert len(pairs) == branches
    for student_output, teachers in pairs:
        teacher_output = teachers[0].outputs
        assert student_output.scores.shape == teacher_output.scores.shape == (2, 3, 8 * 8 + 4 * 4 + 2 * 2)
        assert student_output.scores.requires_grad and not teacher_output.scores.requires_grad


def test_levels_that_only_one_head_has_are_left_out():
    student, teacher = model("yolov8n-p2.yaml"), model("yolov8n.yaml")
    levels = pair_levels(student, teacher)
    teacher.train()
    outputs = trained_output(student)
    ((student_output, teachers),) = paired_branches(
        HeadOutputs(student.model[-1], outputs, [level.student_index for level in levels]),
        [HeadOutputs(teacher.model[-1], trained_output(teacher), [level.teacher_index for level in levels])],
    )
    teacher_output = teachers[0].outputs
    cells = [neck_map.shape[2] * neck_map.shape[3] for neck_map in outputs["feats"]]
    assert torch.equal(student_output.scores, outputs["scores"][..., cells[0] :])
    assert student_output.boxes.shape == teacher_output.boxes.shape


@pytest.mark.parametrize(
    "name",
    [
        "yolov8n.yaml",
        "yolo11n.yaml",
        "yolo26n.yaml",
        "yolov3-tiny.yaml",  # P4 and P5 alone
        "yolov5n-p6.yaml",
        "yolov6n.yaml",  # enlarges its maps by transposed convolutions
        "yolov10n.yaml",
        "yolo26n-p2.yaml",
    ],
)
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
    (teacher,) = all_classes.teachers
    one_class = Distiller([replace(teacher, known=[1])], all_classes.config)
    computed = {}
    one_class._check_first_batch = lambda terms, *_: computed.update(terms)
    head_hook = HeadHook(student)
    LossHook(student, one_class.step, head=True).attach()
    student(batch())
    outputs = head_hook.pop()
    teacher_output = teacher.frozen.predictions(teacher.frozen(batch()["img"]))
    one = [Predictions(side["boxes"], side["scores"][:, 1:2]) for side in (outputs, teacher_output["one2many"])]
    heads = all_classes.config.heads
    loss = HeadLoss({"cls": heads.cls_weight, "box": heads.box_weight})
    wanted = loss(one[0], [TeacherPredictions(one[1])]).terms.values()
    torch.testing.assert_close(torch.stack([computed["head_cls"], computed["head_box"]]), torch.stack([*wanted]))
    (gradient,) = torch.autograd.grad(computed["head_cls"], outputs["scores"])
    assert not gradient[:, [0, 2]].any() and gradient[:, 1].any()


def complete_outputs(name: str) -> tuple[nn.Module, dict, HeadOutputs]:
    """Return a complete model's head, its raw outputs in evaluation, and the same read by a frozen teacher."""
    complete, cut = model(name).eval(), model(name)
    with torch.no_grad():
        _, raw = complete(IMAGE)
    frozen = FrozenTeacher(cut, torch.device("cpu"), heads=True)
    outputs = HeadOutputs(frozen.head, frozen.predictions(frozen(IMAGE)), [0, 1, 2])
    return complete.model[-1], raw.get("one2many", raw), outputs


def close(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["yolov8n-pose.yaml", "yolo26n-pose.yaml"])
def test_keypoints_are_offsets_from_the_anchors_in_cells_as_the_head_decodes_them(name):
    head, raw, outputs = complete_outputs(name)
    read = read_outputs(outputs.head, outputs.branches["one2many"], outputs.indices)
    anchors, strides = make_anchors(raw["feats"], head.stride, 0.5)
    head.anchors, head.strides = anchors.T, strides.T
    expected = head.kpts_decode(raw["kpts"]).unflatten(1, (17, 3))
    close((read.keypoints + anchors.T) * strides.T, expected[:, :, :2])
    close(read.visibility.sigmoid(), expected[:, :, 2])


@pytest.mark.parametrize("name", ["yolov8n-obb.yaml", "yolo26n-obb.yaml"])
def test_angles_are_those_that_the_head_decodes_boxes_with(name):
    _, raw, outputs = complete_outputs(name)
    close(read_outputs(outputs.head, outputs.branches["one2many"], outputs.indices).angles, raw["angle"])


@pytest.mark.parametrize("name", ["yolov8n-seg.yaml", "yolo26n-seg.yaml"])
def test_masks_have_the_prototypes_of_the_complete_model_and_the_anchors_of_its_levels(name):
    head, raw, outputs = complete_outputs(name)
    read = read_outputs(outputs.head, outputs.branches["one2many"], outputs.indices)
    close(read.prototypes, raw["proto"])
    close(read.coefficients, raw["mask_coefficient"])
    anchors, strides = make_anchors(raw["feats"], head.stride, 0.5)
    assert torch.equal(read.anchors, anchors.T) and torch.equal(read.strides, strides[:, 0])
    coarse = read_outputs(outputs.head, outputs.branches["one2many"], [2])
    assert torch.equal(coarse.coefficients, read.coefficients[..., -4:]) and set(coarse.strides.tolist()) == {32}


@pytest.mark.parametrize("name", ["yolov8n-seg.yaml", "yolo26n-seg.yaml"])
def test_a_student_in_training_is_read_without_its_semantic_logits(name):
    student = model(name)
    read = read_outputs(student.model[-1], HeadOutputs(None, trained_output(student), []).branches["one2many"], [0])
    assert read.prototypes.shape == (2, 32, 16, 16) and read.prototypes.requires_grad


def test_a_teacher_with_a_larger_stride_makes_prototypes_for_the_image_alone():
    """YOLO26 makes them from all maps, which are cropped to the image; away from the border nothing changes."""
    config = yaml.safe_load((ROOT / "cfg/models/26/yolo26-p6.yaml").read_text())
    config["head"][-1][2:] = ["Segment26", ["nc", 32, 256]]
    teacher = SegmentationModel({**config, "scale": "n"}, nc=3, verbose=False)
    frozen = FrozenTeacher(teacher, torch.device("cpu"), heads=True)
    padded = torch.full((1, 3, 128, 192), 114 / 255)
    padded[..., :96, :160] = torch.rand(1, 3, 96, 160)
    own, whole = (frozen.predictions(frozen(image))["one2many"]["proto"] for image in (padded[..., :96, :160], padded))
    assert own.shape[2:] == (24, 40) and whole.shape[2:] == (32, 48)
    close(own[..., :8, :24], whole[..., :8, :24])
