from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from fgd_yolo import export_onnx
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.export import build
from fixtures import file_names, save_checkpoint


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_an_export_matches_its_checkpoint_and_reports_how_closely(model, tiny_data, tmp_path):
    weights = save_checkpoint(tmp_path / "model.pt", model, tiny_data)
    exported = export_onnx(weights)
    assert exported.path == tmp_path / "model.onnx"
    assert (exported.imgsz, exported.images) == (96, 6)
    assert exported.detections > 20
    assert exported.box_difference_px < 0.05
    assert exported.score_difference < 5e-4
    session = onnxruntime.InferenceSession(str(exported.path))
    (output,) = session.run(None, {"images": np.zeros((1, 3, 96, 96), "f4")})
    assert output.shape == (1, 4 + 3, 12 * 12 + 6 * 6 + 3 * 3)


def test_the_metadata_has_names_size_stride_and_task(weights):
    entries = {entry.key: entry.value for entry in onnx.load(export_onnx(weights).path).metadata_props}
    assert entries["names"] == "{0: 'disc', 1: 'block', 2: 'wedge'}"
    assert (entries["imgsz"], entries["stride"], entries["task"]) == ("[96, 96]", "32", "detect")


def test_the_file_names_no_folder_of_the_machine_it_was_made_on(weights, tiny_data):
    written = export_onnx(weights).path.read_bytes()
    assert f"trained on {tiny_data.name}".encode() in written
    assert str(tiny_data.parent).encode() not in written
    assert str(weights.parent).encode() not in written


def test_size_and_name_can_be_chosen(weights, tmp_path):
    exported = export_onnx(weights, tmp_path / "camera.onnx", imgsz=64)
    assert (exported.path, exported.imgsz) == (tmp_path / "camera.onnx", 64)
    assert file_names(weights.parent) == ["model.pt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imgsz": 100}, "use 96"),
        ({"imgsz": 0}, "use 32"),
        ({"output": "model.bin"}, "must end in .onnx"),
        ({"output": "no/such/folder/model.onnx"}, "does not exist"),
        ({"opset": 5}, "from 9 to 20"),
        ({"opset": 12, "precision": "int8"}, "from 13 to 20"),
        ({"precision": "bf16"}, "available: fp32, fp16, int8"),
        ({"batch": 0}, "at least 1"),
    ],
)
def test_an_invalid_option_is_a_usage_error(weights, options, message):
    with pytest.raises(UsageError, match=message):
        export_onnx(weights, **options)
    assert file_names(weights.parent) == ["model.pt"]


def damage(path):
    """Add a little to one weight of a file, a fault with which it still draws boxes."""
    model = onnx.load(path)
    kernel = next(entry for entry in model.graph.initializer if len(entry.dims) == 4)
    values = numpy_helper.to_array(kernel).copy()
    values[0] += 0.05
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    onnx.save(model, path)


@pytest.mark.parametrize("spoil", [damage, lambda path: path.write_bytes(path.read_bytes()[:5000])])
def test_a_wrong_export_fails_and_an_earlier_file_stays(weights, monkeypatch, spoil):
    convert = build.convert_to_onnx

    def convert_wrongly(*args, **options):
        path = convert(*args, **options)
        spoil(path)
        return path

    monkeypatch.setattr(build, "convert_to_onnx", convert_wrongly)
    with pytest.raises(FGDError):
        export_onnx(weights)
    assert file_names(weights.parent) == ["model.pt"]
    weights.with_suffix(".onnx").write_text("an earlier export")
    with pytest.raises(FGDError):
        export_onnx(weights)
    assert file_names(weights.parent) == ["model.onnx", "model.pt"]
    assert weights.with_suffix(".onnx").read_text() == "an earlier export"


def test_uint8_input_read_in_another_channel_order_is_detected(weights, monkeypatch):
    convert = build.convert_to_uint8_input

    def convert_wrongly(source, target):
        convert(source, target)
        model = onnx.load(target)
        order = next(entry for entry in model.graph.initializer if entry.name == "from_uint8_reverse")
        order.CopyFrom(numpy_helper.from_array(np.array([0, 1, 2]), order.name))
        onnx.save(model, target)

    monkeypatch.setattr(build, "convert_to_uint8_input", convert_wrongly)
    with pytest.raises(FGDError, match="not those of the float input"):
        export_onnx(weights, uint8_input=True)
    assert file_names(weights.parent) == ["model.pt"]


def test_missing_data_is_an_error_that_asks_for_data_and_leaves_nothing(tmp_path):
    weights = save_checkpoint(tmp_path / "model.pt", "yolov8n.yaml", tmp_path / "gone.yaml")
    with pytest.raises(FGDError, match=r"pass data= \(--data\)"):
        export_onnx(weights)
    assert "model.onnx" not in file_names(tmp_path)


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("shape", ["pickle", "torch", "checkpoint"])
def test_a_malicious_pickle_is_refused_and_never_executed(tmp_path, tiny_data, shape):
    import torch

    trap, marker = tmp_path / "trap.pt", tmp_path / "executed"
    if shape == "pickle":
        trap.write_bytes(pickle.dumps(Malicious(marker)))
    elif shape == "torch":
        torch.save({"model": Malicious(marker)}, trap)
    else:
        checkpoint = torch.load(save_checkpoint(trap, "yolov8n.yaml", tiny_data), weights_only=False)
        checkpoint["model"].model[0].extra = Malicious(marker)
        torch.save(checkpoint, trap)
    with pytest.raises(FGDError, match="nothing in it was executed"):
        export_onnx(trap)
    assert not marker.exists()
    with pytest.raises(Exception, match=r".*"):  # the trap works: the plain loader executes it
        torch.load(trap, weights_only=False)["model"].missing  # noqa: B018
    assert marker.exists()


@pytest.mark.slow
def test_a_malicious_pickle_is_refused_where_ultralytics_was_imported_first(tmp_path):
    marker = tmp_path / "executed"
    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Malicious(marker)))
    code = "import sys, ultralytics\nfrom fgd_yolo import export_onnx\nexport_onnx(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "trap.pt"], capture_output=True, text=True)
    assert "FGDError" in run.stderr
    assert not marker.exists()


def test_a_truncated_checkpoint_and_a_text_file_are_refused_in_one_line(weights, tmp_path):
    weights.write_bytes(weights.read_bytes()[:-2000])
    (tmp_path / "text.pt").write_text("hello")
    for path in (weights, tmp_path / "text.pt"):
        with pytest.raises(FGDError, match="is damaged or not an Ultralytics checkpoint") as caught:
            export_onnx(path)
        assert "\n" not in str(caught.value)


def test_a_model_that_is_not_a_detector_is_refused(tmp_path):
    from ultralytics import YOLO

    YOLO("yolov8n-cls.yaml").save(tmp_path / "classifier.pt")
    with pytest.raises(FGDError, match=r"ClassificationModel .* not a YOLO for detect, segment, pose, obb"):
        export_onnx(tmp_path / "classifier.pt")
    assert file_names(tmp_path) == ["classifier.pt", "here"]


@pytest.mark.slow
def test_nms_for_a_head_that_lost_its_other_branch_is_a_usage_error(tiny_data, tmp_path):
    import torch

    weights = save_checkpoint(tmp_path / "model.pt", "yolo26n.yaml", tiny_data)
    checkpoint = torch.load(weights, weights_only=False)
    checkpoint["model"].end2end = True
    checkpoint["model"].model[-1].fuse()
    torch.save(checkpoint, weights)
    with pytest.raises(UsageError, match="omit nms"):
        export_onnx(weights, nms=True)
    exported = export_onnx(weights, dynamic=True)
    assert exported.detections > 20
    assert onnxruntime.InferenceSession(exported.path).get_outputs()[0].shape[2] == 6


def test_images_that_cannot_be_read_are_counted(weights, tiny_data, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    good = sorted((tiny_data.parent / "images/val").iterdir())[:2]
    exported = export_onnx(weights, check_images=[tmp_path / "broken.jpg", *good])
    assert (exported.images, exported.unreadable) == (2, 1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that not even root can write")
def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(weights):
    with pytest.raises(FGDError, match=r"cannot write /proc/model\.onnx: ") as caught:
        export_onnx(weights, "/proc/model.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [9, 20])
def test_the_opset_is_the_requested_one(weights, opset):
    assert onnx.load(export_onnx(weights, opset=opset).path).opset_import[0].version == opset
