"""Feature hooks store what the head reads, return it once and leave no trace; necks are paired by stride."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from fgd_yolo.errors import FGDError
from fgd_yolo.neck import NeckHook, neck_channels, neck_strides, pair_levels, unpaired_levels
from fixtures import narrow_rtdetr

FAMILIES = ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"]


def model(name) -> DetectionModel:
    return DetectionModel(str(name), nc=3, verbose=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_neck_hook_stores_the_same_tensors_that_the_head_reads(name):
    student = model(name).train()
    hook = NeckHook(student)
    preds = student(torch.rand(2, 3, 64, 64))
    feats = preds.get("one2many", preds)["feats"]
    assert all(stored is read for stored, read in zip(hook.pop(), feats, strict=True))


def test_a_second_pop_without_a_forward_pass_is_an_error():
    student = model("yolov8n.yaml")
    hook = NeckHook(student)
    student(torch.rand(1, 3, 64, 64))
    hook.pop()
    with pytest.raises(RuntimeError, match="has not run"):
        hook.pop()


def test_a_removed_hook_leaves_no_trace():
    student = model("yolov8n.yaml")
    hook = NeckHook(student)
    hook.remove()
    student(torch.rand(1, 3, 64, 64))
    assert not student.model[-1]._forward_pre_hooks
    with pytest.raises(RuntimeError):
        hook.pop()


@pytest.mark.parametrize("name", FAMILIES)
def test_probing_the_neck_leaves_no_trace_in_the_model(name):
    student = model(name).train()
    before, head = deepcopy(student.state_dict()), dict(vars(student.model[-1]))
    torch.manual_seed(1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert neck_channels(student) == {8: 64, 16: 128, 32: 256}
    assert torch.equal(torch.rand(1), drawn), "probing drew a random number"
    assert student.training and vars(student.model[-1]) == head
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_levels_are_paired_by_stride_not_by_order():
    levels = pair_levels(model("yolov8n-p2.yaml"), model("yolov8s-p6.yaml"))
    assert [(level.stride, level.student_index, level.teacher_index) for level in levels] == [
        (8, 1, 0),
        (16, 2, 1),
        (32, 3, 2),
    ]


def test_levels_of_a_teacher_with_larger_images_are_paired_by_stride_on_grids_of_their_own():
    levels = pair_levels(model("yolov8n.yaml"), model("yolov8s.yaml"), Fraction(2))
    assert [(level.stride, level.student_index, level.teacher_index) for level in levels] == [
        (8, 0, 0),
        (16, 1, 1),
        (32, 2, 2),
    ]
    assert not any(level.same_grid for level in levels)
    assert all(level.same_grid for level in pair_levels(model("yolov8n.yaml"), model("yolov8s.yaml")))


def test_models_without_a_common_stride_are_refused(tmp_path):
    """A model with P3 alone beside one with P5 alone."""
    import yaml
    from ultralytics.utils import ROOT

    architecture = yaml.safe_load((ROOT / "cfg/models/v8/yolov8.yaml").read_text(encoding="utf-8"))
    models = []
    for level, layer in (("p3", 15), ("p5", 21)):
        head = [*architecture["head"][:-1], [[layer], 1, "Detect", ["nc"]]]
        path = tmp_path / f"yolov8n-{level}.yaml"
        path.write_text(yaml.safe_dump({**architecture, "head": head}))
        models.append(model(path))
    with pytest.raises(FGDError, match=r"strides \[8\].*strides \[32\].*no.*stride in common"):
        pair_levels(*models)


def test_unpaired_levels_are_named_with_their_consequence():
    lines = unpaired_levels(model("yolov8n-p2.yaml"), model("yolov8n-p6.yaml"))
    assert [line.split(":")[0] for line in lines] == ["stride 4", "stride 64"]
    assert "learns from the labels alone" in lines[0] and "teacher's level is not used" in lines[1]
    assert unpaired_levels(model("yolov8n.yaml"), model("yolo26n.yaml")) == []


def test_strides_of_an_rtdetr_are_measured_since_its_head_records_none(tmp_path):
    rtdetr = RTDETRDetectionModel(str(narrow_rtdetr(tmp_path / "rtdetr.yaml", 0.0625)), nc=3, verbose=False)
    assert rtdetr.stride.tolist() == [32]
    assert neck_strides(rtdetr) == [8, 16, 32]
    p2 = model("yolov8n-p2.yaml")
    assert [level.stride for level in pair_levels(p2, rtdetr)] == [8, 16, 32]
    (line,) = unpaired_levels(rtdetr, p2)
    assert line == "stride 4: the student has no such level, so the teacher's level is not used"
