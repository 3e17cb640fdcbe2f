"""What cannot be is refused before anything is loaded, in one line that says what can."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.export.request import Request, check_model, input_size, target_path

MODEL = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "fp32, fp16, int8"),
        ({"batch": 0}, "whole number from 1"),
        ({"batch": True}, "whole number from 1"),
        ({"batch": 1.5}, "whole number from 1"),
        ({"max_drop": -1}, "between 0 and 100"),
        ({"max_drop": float("nan")}, "between 0 and 100"),
        ({"opset": 8}, "fp32 needs one from 9 to 20"),
        ({"opset": 21}, "from 9 to 20"),
        ({"opset": "17"}, "from 9 to 20"),
        ({"opset": 10, "nms": True}, "fp32 with NMS needs one from 11 to 20"),
        ({"opset": 12, "precision": "int8"}, "int8 needs one from 13 to 20"),
    ],
)
def test_what_cannot_be_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        Request(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"opset": 9}, {"opset": 11, "nms": True}, {"opset": 13, "precision": "int8"}, {"opset": 20}]
)
def test_the_ends_of_the_range_can_be(options):
    assert Request(**options).opset == options["opset"]


def test_the_size_is_the_trained_one_rounded_up_to_the_stride():
    assert input_size(MODEL, None, 100) == 128
    assert input_size(MODEL, None, [64, 96]) == 96
    assert input_size(MODEL, None, None) == 640
    assert input_size(MODEL, 320, 640) == 320


@pytest.mark.parametrize(
    ("asked", "message"),
    [(100, "take 96"), (0, "take 32"), (-64, "take 32"), ([64, 96], "a square"), (64.0, "a square")],
)
def test_a_size_that_cannot_be_names_one_that_can(asked, message):
    with pytest.raises(UsageError, match=message):
        input_size(MODEL, asked, 640)


def test_nms_is_refused_for_a_head_that_needs_none():
    fused = SimpleNamespace(yaml={}, model=[SimpleNamespace(cv2=None)])
    with pytest.raises(UsageError, match="leave out nms"):
        check_model(fused, nms=True)
    check_model(fused, nms=False)
    check_model(SimpleNamespace(yaml={"channels": 3}, model=[SimpleNamespace(cv2="a branch")]), nms=True)


def test_a_model_of_grey_images_is_refused():
    with pytest.raises(FGDError, match="takes 1 channels"):
        check_model(SimpleNamespace(yaml={"channels": 1}, model=[None]), nms=False)


def test_the_file_stands_beside_the_weights_if_nothing_else_is_said(tmp_path):
    assert target_path(tmp_path / "best.pt", None) == tmp_path / "best.onnx"
    assert target_path(tmp_path / "best.pt", str(tmp_path / "other.onnx")) == tmp_path / "other.onnx"
    (tmp_path / "folder.onnx").mkdir()
    for output, message in (("x.bin", "must end"), ("no/x.onnx", "does not exist"), ("folder.onnx", "is a folder")):
        with pytest.raises(UsageError, match=message):
            target_path(tmp_path / "best.pt", tmp_path / output)
