"""What a teacher makes of the parts of a batch is, joined, what it makes of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgd_yolo.task_table import TASKS
from fgd_yolo.training.heads.batch_parts import join_parts
from fgd_yolo.training.heads.head_outputs import HeadOutputs, read_outputs
from fgd_yolo.training.teachers.teacher import FrozenTeacher

HEADS = ["yolov8n.yaml", "yolo26n.yaml", "yolo26n-seg.yaml", "yolov8n-pose.yaml", "yolo11n-obb.yaml", "rtdetr-l.yaml"]


@pytest.mark.parametrize("architecture", [pytest.param(name, marks=pytest.mark.slow) for name in HEADS])
def test_outputs_of_parts_are_those_of_the_batch(architecture):
    task = "segment" if "seg" in architecture else "pose" if "pose" in architecture else "obb"
    if task == "obb" and "obb" not in architecture:
        task = "detect"
    from ultralytics.nn.tasks import RTDETRDetectionModel

    torch.manual_seed(0)
    build = RTDETRDetectionModel if "rtdetr" in architecture else TASKS[task].model
    frozen = FrozenTeacher(build(architecture, nc=3, verbose=False), torch.device("cpu"), heads=True)
    images = torch.rand(3, 3, 64, 96)

    def outputs(part):
        return HeadOutputs(frozen.head, frozen.predictions(frozen(part)), [0, 1, 2])

    whole, joined = outputs(images), join_parts([outputs(part) for part in images.tensor_split(2)])
    assert whole.branches.keys() == joined.branches.keys()
    for branch in whole.branches:
        expected, actual = (read_outputs(frozen.head, one.branches[branch], one.indices) for one in (whole, joined))
        for name, value in expected._asdict().items():
            assert (value is None) == (getattr(actual, name) is None)
            if value is not None:
                torch.testing.assert_close(getattr(actual, name), value, rtol=1e-4, atol=1e-4)


def test_one_part_is_returned_as_it_is():
    part = {"boxes": torch.ones(1)}
    assert join_parts([part]) is part


def test_other_outputs_are_an_error():
    with pytest.raises(TypeError, match="Conv2d cannot be joined"):
        join_parts([nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)])
