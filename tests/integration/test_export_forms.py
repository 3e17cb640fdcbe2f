"""Files of every task, precision and form match the checkpoint, and Ultralytics can still read them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from fgd_yolo import export_onnx
from fixtures import narrow_yaml, save_checkpoint

SIZE = 64
TASKS = ("detect", "segment", "pose", "obb")
EXTRAS = {"detect": 0, "segment": 32, "pose": 17 * 3, "obb": 1}


def only(*tasks):
    return pytest.mark.parametrize("weights", tasks, indirect=True)


@pytest.fixture(scope="module", params=TASKS)
def weights(request, tiny_data, tmp_path_factory):
    """A narrow YOLOv8 of each task, in a folder named after it."""
    folder = tmp_path_factory.mktemp("forms") / request.param
    folder.mkdir()
    model = narrow_yaml(folder / "narrow.yaml", width=0.125, task=request.param)
    return save_checkpoint(folder / "model.pt", model, tiny_data, task=request.param, small_boxes=True)


def open_file(path):
    return onnxruntime.InferenceSession(str(path))


def shapes(path, *shape):
    session = open_file(path)
    return [output.shape for output in session.run(None, {"images": np.full(shape, 0.4, "f4")})]


def own_entry(path):
    return json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["fgd_yolo"])


def predicted(path, data, count=1):
    """Return what Ultralytics itself detects with a file."""
    from ultralytics import YOLO

    images = sorted((data.parent / "images/val").iterdir())[:count]
    return YOLO(str(path), task=path.parent.name)([str(image) for image in images], imgsz=SIZE, verbose=False)


def test_raw_outputs(weights, tiny_data):
    task = weights.parent.name
    exported = export_onnx(weights, imgsz=SIZE)
    assert (exported.task, exported.precision, exported.missing, exported.extra) == (task, "fp32", 0, 0)
    assert exported.detections > 10
    raw, *masks = shapes(exported.path, 1, 3, SIZE, SIZE)
    assert raw == (1, 4 + 3 + EXTRAS[task], 64 + 16 + 4)
    assert masks == ([(1, 32, 16, 16)] if task == "segment" else [])
    assert predicted(exported.path, tiny_data)


@pytest.mark.slow
def test_embedded_nms(weights, tiny_data):
    exported = export_onnx(weights, imgsz=SIZE, nms=True)
    assert exported.detections > 10
    assert 0 < exported.box_difference_px < 0.05
    assert shapes(exported.path, 1, 3, SIZE, SIZE)[0] == (1, 300, 6 + EXTRAS[weights.parent.name])
    (embedded,) = predicted(exported.path, tiny_data)
    (raw,) = predicted(export_onnx(weights, imgsz=SIZE).path, tiny_data)
    assert len(embedded) == len(raw) > 0


@pytest.mark.slow
@only("segment", "obb")
def test_dynamic_size_and_batch(weights, tiny_data):
    exported = export_onnx(weights, imgsz=SIZE, dynamic=True)
    assert exported.images == 6
    assert open_file(exported.path).get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert shapes(exported.path, 3, 3, 96, 32)[0][::2] == (3, 48 + 12 + 3)
    assert len(predicted(exported.path, tiny_data, 2)) == 2
    once = export_onnx(weights, imgsz=SIZE)
    assert exported.detections > once.detections  # a second, wider size was compared as well


@pytest.mark.slow
@only("segment", "pose")
def test_dynamic_size_with_nms_has_the_requested_batch(weights, tiny_data, caplog):
    one = export_onnx(weights, imgsz=SIZE, dynamic=True, nms=True)
    assert open_file(one.path).get_inputs()[0].shape == [1, 3, "height", "width"]
    assert predicted(one.path, tiny_data)
    two = export_onnx(weights, imgsz=SIZE, dynamic=True, nms=True, batch=2)
    assert shapes(two.path, 2, 3, 96, 32)[0][:2] == (2, 300)
    assert "maximum batch" not in caplog.text  # Ultralytics' advice for a batch that is fixed here


def test_half_precision_keeps_float_inputs_and_outputs(weights, tiny_data):
    exported = export_onnx(weights, imgsz=SIZE, precision="fp16")
    assert exported.detections > 10
    assert 1e-5 < exported.score_difference < 0.02  # it does round
    session = open_file(exported.path)
    assert {spec.type for spec in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    assert own_entry(exported.path)["precision"] == "fp16"
    assert predicted(exported.path, tiny_data)


def test_uint8_input(weights):
    exported = export_onnx(weights, imgsz=SIZE, uint8_input=True, batch=4)
    assert (exported.uint8_input, exported.images) == (True, 6)
    (image,) = open_file(exported.path).get_inputs()
    assert (image.type, image.shape) == ("tensor(uint8)", [4, SIZE, SIZE, 3])
    assert own_entry(exported.path)["preprocessing"]["input"] == "uint8"


@pytest.mark.slow
@only("detect", "pose")
def test_everything_at_once(weights):
    exported = export_onnx(weights, imgsz=SIZE, precision="fp16", dynamic=True, nms=True, uint8_input=True, opset=17)
    assert exported.detections > 20
    assert open_file(exported.path).get_inputs()[0].shape == [1, "height", "width", 3]
    assert onnx.load(exported.path).opset_import[0].version == 17


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", "obb"])
def test_the_newest_family_exports_too(task, tiny_data, tmp_path):
    name = {"segment": "seg"}.get(task, task)
    weights = save_checkpoint(tmp_path / "model.pt", f"yolo26n-{name}.yaml", tiny_data, task=task)
    assert export_onnx(weights, imgsz=SIZE).detections > 10
    assert export_onnx(weights, imgsz=SIZE, nms=True).detections > 10
