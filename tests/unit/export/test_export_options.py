"""Invalid options are refused before anything is loaded, with one line that names the valid values."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from ultralytics.nn.tasks import RTDETRDetectionModel

from fgd_yolo.errors import UsageError
from fgd_yolo.export.export_options import ExportOptions, check_model, input_size, target_path
from fixtures import narrow_rtdetr

MODEL = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "fp32, fp16, int8"),
        ({"batch": 0}, "an integer of at least 1, got"),
        ({"batch": True}, "an integer of at least 1, got"),
        ({"batch": 1.5}, "an integer of at least 1, got"),
        ({"max_map_drop": -1}, "between 0 and 100"),
        ({"max_map_drop": float("nan")}, "between 0 and 100"),
        ({"opset": 8}, "from 9 to 20 for fp32, got 8"),
        ({"opset": 21}, "from 9 to 20 for fp32, got"),
        ({"opset": "17"}, "from 9 to 20 for fp32, got"),
        ({"opset": 10, "nms": True}, "from 11 to 20 for fp32 with NMS, got 10"),
        ({"opset": 12, "precision": "int8"}, "from 13 to 20 for int8, got 12"),
        ({"calibrate": ("frames",)}, r"calibrate \(--calibrate\) is for int8, fp32 is not calibrated"),
        ({"calibrate": ("frames",), "precision": "fp16"}, r"for int8, fp16 is not calibrated: .*--precision int8"),
    ],
)
def test_an_invalid_option_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        ExportOptions(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"opset": 9}, {"opset": 11, "nms": True}, {"opset": 13, "precision": "int8"}, {"opset": 20}]
)
def test_the_ends_of_the_range_are_valid(options):
    assert ExportOptions(**options).opset == options["opset"]


def test_the_size_is_the_trained_one_rounded_up_to_the_stride():
    assert input_size(MODEL, None, 100) == 128
    assert input_size(MODEL, None, [64, 96]) == 96
    assert input_size(MODEL, None, None) == 640
    assert input_size(MODEL, 320, 640) == 320


@pytest.mark.parametrize(
    ("imgsz", "message"),
    [(100, "use 96"), (0, "use 32"), (-64, "use 32"), ([64, 96], "a square"), (64.0, "a square")],
)
def test_an_invalid_size_is_refused_with_a_valid_one(imgsz, message):
    with pytest.raises(UsageError, match=message):
        input_size(MODEL, imgsz, 640)


def test_nms_is_refused_for_a_head_that_does_not_need_it():
    fused = SimpleNamespace(yaml={}, model=[SimpleNamespace(cv2=None)])
    with pytest.raises(UsageError, match="omit nms"):
        check_model(fused, nms=True)
    check_model(fused, nms=False)
    check_model(SimpleNamespace(yaml={"channels": 3}, model=[SimpleNamespace(cv2="a branch")]), nms=True)


def test_an_rtdetr_takes_neither_nms_nor_a_dynamic_size(tmp_path):
    model = RTDETRDetectionModel(str(narrow_rtdetr(tmp_path / "rtdetr.yaml", 0.0625)), nc=3, verbose=False)
    with pytest.raises(UsageError, match="omit nms"):
        check_model(model, nms=True)
    with pytest.raises(UsageError, match=r"stretched to one size: omit dynamic \(--dynamic\)"):
        check_model(model, nms=False, dynamic=True)
    check_model(model, nms=False)


def test_the_default_file_is_beside_the_weights(tmp_path):
    assert target_path(tmp_path / "best.pt", None) == tmp_path / "best.onnx"
    assert target_path(tmp_path / "best.pt", str(tmp_path / "other.onnx")) == tmp_path / "other.onnx"
    (tmp_path / "folder.onnx").mkdir()
    for output, message in (("x.bin", "must end"), ("no/x.onnx", "does not exist"), ("folder.onnx", "is a folder")):
        with pytest.raises(UsageError, match=message):
            target_path(tmp_path / "best.pt", tmp_path / output)
