"""A student takes over the layers of neck and head that are its teacher's in kind, place and shape, and no others."""

from __future__ import annotations

from copy import deepcopy

import torch
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from fgd_yolo.training.teachers.inherit import inherit_neck_and_head
from fixtures import CLASSES, narrow_yaml

NAMES = dict(enumerate(CLASSES))
BACKBONE = 10  # layers of YOLOv8


def model(path, width=0.125, names=NAMES, seed=0, **changes) -> DetectionModel:
    torch.manual_seed(seed)
    built = DetectionModel(str(narrow_yaml(path, width, **{"nc": len(names), **changes})), verbose=False)
    for layer in built.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
    built.names = dict(names)
    return built


def changed(before: dict, after: dict) -> set[str]:
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def number(name: str) -> int:
    return int(name.split(".")[1])


def test_between_models_of_one_width_neck_and_head_are_copied_whole_and_the_backbone_is_not(tmp_path):
    student, teacher = model(tmp_path / "s.yaml"), model(tmp_path / "t.yaml", seed=1)
    before = deepcopy(student.state_dict())
    inherited = inherit_neck_and_head(student, teacher, NAMES)
    own, theirs = student.state_dict(), teacher.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own if number(name) >= BACKBONE)
    assert all(torch.equal(own[name], before[name]) for name in own if number(name) < BACKBONE)
    assert inherited.layers == inherited.all_layers and not inherited.is_little
    weights = sum(p.numel() for name, p in student.named_parameters() if number(name) >= BACKBONE)
    assert inherited.weights == inherited.all_weights == weights


def test_only_the_rows_of_known_classes_are_copied(tmp_path):
    others = {0: "wedge", 1: "bird", 2: "Disc", 3: "cat"}
    student, teacher = model(tmp_path / "s.yaml"), model(tmp_path / "t.yaml", names=others, seed=1)
    before = [layers[-1].weight.clone() for layers in student.model[-1].cv3]
    inherited = inherit_neck_and_head(student, teacher, NAMES)
    for layers, theirs, old in zip(student.model[-1].cv3, teacher.model[-1].cv3, before, strict=True):
        assert torch.equal(layers[-1].weight[0], theirs[-1].weight[2]), "disc is the teacher's third class"
        assert torch.equal(layers[-1].weight[2], theirs[-1].weight[0]), "wedge is the teacher's first class"
        assert torch.equal(layers[-1].weight[1], old[1]), "the teacher has no block"
        assert layers[-1].bias[0] == theirs[-1].bias[2]
    assert inherited.all_weights - inherited.weights == sum(1 + old[1].numel() for old in before)


def test_a_class_that_the_map_names_is_copied_and_one_that_stands_for_several_is_not(tmp_path):
    others = {0: "plate", 1: "round", 2: "circle"}
    student, teacher = model(tmp_path / "s.yaml"), model(tmp_path / "t.yaml", names=others, seed=1)
    before = student.model[-1].cv3[0][-1].weight.clone()
    inherit_neck_and_head(student, teacher, NAMES, {"plate": "block", "round": "disc", "circle": "disc"})
    rows = student.model[-1].cv3[0][-1].weight
    assert torch.equal(rows[1], teacher.model[-1].cv3[0][-1].weight[0])
    assert torch.equal(rows[0], before[0]) and torch.equal(rows[2], before[2])


def test_between_widths_nothing_of_another_shape_is_touched_and_this_is_said(tmp_path):
    student, teacher = model(tmp_path / "s.yaml", 0.125), model(tmp_path / "t.yaml", 0.25, seed=1)
    before = deepcopy(student.state_dict())
    inherited = inherit_neck_and_head(student, teacher, NAMES)
    assert inherited.is_little and inherited.layers < inherited.all_layers
    theirs = teacher.state_dict()
    for name in changed(before, student.state_dict()):
        assert torch.equal(student.state_dict()[name], theirs[name])
    convolutions = {name.rpartition(".conv.")[0] for name in changed(before, student.state_dict()) if ".conv." in name}
    for name in convolutions:  # a convolution is never left beside the statistics of another
        assert torch.equal(student.state_dict()[f"{name}.bn.running_mean"], theirs[f"{name}.bn.running_mean"])


def test_a_deeper_teacher_and_one_with_more_levels_meet_the_student_from_the_head(tmp_path):
    deeper = model(tmp_path / "deep.yaml", seed=1, depth_multiple=1.0)
    student = model(tmp_path / "s.yaml")
    inherited = inherit_neck_and_head(student, deeper, NAMES)
    assert inherited.layers == inherited.all_layers - 4, "all but the convolutions that join the blocks of each C2f"
    assert torch.equal(student.model[-2].m[0].cv1.conv.weight, deeper.model[-2].m[0].cv1.conv.weight)
    p2 = DetectionModel("yolov8n-p2.yaml", nc=3, verbose=False)
    p2.names = NAMES
    own = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    inherited = inherit_neck_and_head(own, p2, NAMES)
    assert 0 < inherited.layers < inherited.all_layers
    assert torch.equal(own.model[-2].cv1.conv.weight, p2.model[-2].cv1.conv.weight), "the last module of both necks"


def test_a_head_of_another_kind_gives_nothing_to_a_yolo_head(tmp_path):
    student = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    teacher = RTDETRDetectionModel("rtdetr-resnet50.yaml", nc=3, verbose=False)
    teacher.names = NAMES
    head = deepcopy(student.model[-1].state_dict())
    inherited = inherit_neck_and_head(student, teacher, NAMES)
    assert inherited.is_little
    assert changed(head, student.model[-1].state_dict()) == set()


def test_large_and_medium_models_of_one_width_agree_in_most_of_neck_and_head():
    medium, large = (DetectionModel(f"yolo11{size}.yaml", nc=3, verbose=False) for size in "ml")
    large.names = NAMES
    inherited = inherit_neck_and_head(medium, large, NAMES)
    assert not inherited.is_little
