from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from fgd_yolo.errors import FGDError
from fgd_yolo.export.fp16 import to_float16
from fgd_yolo.export.parity import compare_files, compare_with_torch
from fgd_yolo.export.precisions import PRECISIONS
from fgd_yolo.export.sample_images import images_to_compare, in_batches, letterbox_images
from fgd_yolo.export.uint8_input import convert_to_uint8_input
from fgd_yolo.ultralytics import load_model
from fixtures import save_checkpoint

# Warnings of Ultralytics' tracing, which the package silences and this file, calling Ultralytics itself, does not.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor", "ignore:Iterating over a tensor")
FINE = PRECISIONS["fp32"].tolerance


def letterboxed_batches(data, height=96, width=96, batch=1):
    images, _ = images_to_compare(data)
    return in_batches(letterbox_images(images, height, width), batch)


@pytest.fixture(scope="module", params=["yolov8n.yaml", "yolo26n.yaml", "yolov8n-seg.yaml", "embedded NMS"])
def exported(request, tiny_data, tmp_path_factory):
    """A model, its inputs, and the file that Ultralytics writes: raw, final rows of YOLO26, masks, embedded NMS."""
    from ultralytics import YOLO

    model, nms = request.param, None
    if model == "embedded NMS":
        model, nms = "yolov8n.yaml", True
    elif model.startswith("yolo26"):
        nms = False
    task = "segment" if "seg" in model else "detect"
    path = tmp_path_factory.mktemp("parity") / "model.pt"
    weights = save_checkpoint(path, model, tiny_data, task=task, small_boxes=bool(nms))
    path = YOLO(weights).export(format="onnx", imgsz=96, device="cpu", nms=nms)
    return load_model(weights)[0], letterboxed_batches(tiny_data), path


def tampered(path, folder, change):
    """Save a copy of the file in which something was changed."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, folder / "tampered.onnx")
    return folder / "tampered.onnx"


def scale_weights(factor, at=-1):
    """Change one convolution, the first or the last that was learned."""

    def change(model):
        weights = [entry for entry in model.graph.initializer if len(entry.dims) == 4 and entry.dims[1] > 1]
        weights = [entry for entry in weights if list(entry.dims) != [1, 16, 1, 1]]
        scaled = numpy_helper.to_array(weights[at]) * np.float32(factor)
        weights[at].CopyFrom(numpy_helper.from_array(scaled, weights[at].name))

    return change


def test_the_file_of_ultralytics_matches_and_the_comparison_is_not_empty(exported):
    model, inputs, path = exported
    parity = compare_with_torch(path, model, inputs)
    assert parity.detections > 20
    assert (parity.missing, parity.extra) == (0, 0)
    assert 0 < parity.box_difference_px < FINE.box_px / 2
    assert 0 < parity.score_difference < FINE.score / 2


def test_weights_changed_by_one_percent_are_refused_with_the_numbers(exported, tmp_path):
    model, inputs, path = exported
    numbers = r"differ from PyTorch's by \d.* px \(allowed 0.1\), scores by \d|after NMS \d+ of PyTorch's \d+"
    for at in (0, -1):
        with pytest.raises(FGDError, match=numbers):
            compare_with_torch(tampered(path, tmp_path, scale_weights(1.01, at)), model, inputs)


def test_coarser_precisions_allow_more_but_not_everything(exported, tmp_path):
    model, inputs, path = exported
    if "26" in model.yaml["yaml_file"]:
        pytest.skip("float16 moves scores of an untrained YOLO26, whose attention is at random, by 0.05")
    slightly = tmp_path / "half.onnx"
    to_float16(path, slightly)
    with pytest.raises(FGDError, match="the exported file is wrong"):
        compare_with_torch(slightly, model, inputs)
    assert compare_with_torch(slightly, model, inputs, "fp16").detections > 20
    largely = tampered(path, tmp_path, scale_weights(1.3, 0))
    with pytest.raises(FGDError, match="the exported file is wrong"):
        compare_with_torch(largely, model, inputs, "fp16")
    parity = compare_with_torch(largely, model, inputs, "int8")
    assert 0 < parity.missing < parity.detections and parity.extra > 0
    assert parity.box_difference_px > 1


def test_a_file_that_gives_nan_is_refused_at_every_precision(exported, tmp_path):
    model, inputs, path = exported

    def spoil(model):
        last = model.graph.output[0].name
        node = next(node for node in model.graph.node if last in node.output)
        node.output[list(node.output).index(last)] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.array(np.nan, "f4"), "nan"))
        model.graph.node.append(onnx.helper.make_node("Add", ["before", "nan"], [last]))

    for precision in PRECISIONS:
        with pytest.raises(FGDError, match="finite"):
            compare_with_torch(tampered(path, tmp_path, spoil), model, inputs, precision)


def test_a_file_of_another_input_size_is_refused(exported, tiny_data):
    model, _, path = exported
    with pytest.raises(FGDError, match="cannot run"):
        compare_with_torch(path, model, letterboxed_batches(tiny_data, 128, 128))


def test_a_file_that_is_not_a_model_is_refused(exported, tmp_path):
    model, inputs, _ = exported
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(FGDError, match="cannot load"):
        compare_with_torch(tmp_path / "text.onnx", model, inputs)


def test_an_int8_file_that_detects_nothing_is_refused(exported, tmp_path):
    model, inputs, path = exported

    def silence(model):
        last = model.graph.output[0].name
        node = next(node for node in model.graph.node if last in node.output)
        node.output[list(node.output).index(last)] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.array(0, "f4"), "zero"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["before", "zero"], [last]))

    with pytest.raises(FGDError, match=r"detects none of the \d+ objects"):
        compare_with_torch(tampered(path, tmp_path, silence), model, inputs, "int8")


def test_a_file_with_uint8_input_gets_uint8_images(exported, tmp_path):
    model, inputs, path = exported
    convert_to_uint8_input(path, tmp_path / "bytes.onnx")
    compare_files(path, tmp_path / "bytes.onnx", inputs)
    assert compare_with_torch(tmp_path / "bytes.onnx", model, inputs) == compare_with_torch(path, model, inputs)


def test_two_files_that_differ_in_their_channel_order_are_not_equal(exported, tmp_path):
    _, inputs, path = exported
    convert_to_uint8_input(path, tmp_path / "bytes.onnx")

    def keep_order(model):
        entry = next(entry for entry in model.graph.initializer if entry.name == "from_uint8_reverse")
        entry.CopyFrom(numpy_helper.from_array(np.array([0, 1, 2]), entry.name))

    with pytest.raises(FGDError, match="not those of the float input"):
        compare_files(path, tampered(tmp_path / "bytes.onnx", tmp_path, keep_order), inputs)


def test_masks_are_compared_too(tiny_data, tmp_path):
    from ultralytics import YOLO

    weights = save_checkpoint(tmp_path / "seg.pt", "yolov8n-seg.yaml", tiny_data, task="segment")
    path = YOLO(weights).export(format="onnx", imgsz=96, device="cpu")

    def spoil(model):
        node = next(node for node in model.graph.node if "output1" in node.output)
        node.output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.array(1.01, "f4"), "more"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["before", "more"], ["output1"]))

    with pytest.raises(FGDError, match=r"mask coefficients and prototypes by 0.0[01]\d* of the largest"):
        compare_with_torch(tampered(path, tmp_path, spoil), load_model(weights)[0], letterboxed_batches(tiny_data))


def test_gradients_are_enabled_again_after_the_comparison(exported):
    model, inputs, path = exported
    compare_with_torch(path, model, inputs[:1])
    assert torch.is_grad_enabled()
