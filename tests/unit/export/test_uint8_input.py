"""The preprocessing of pixel values moves into the graph, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fgd_yolo.export.uint8_input import convert_to_uint8_input


def small_network(path, shape=("batch", 3, "height", "width"), channels=3):
    """A convolution that distinguishes channels and positions, beside an output that also reads the input's shape."""
    weights = np.arange(2 * channels * 3 * 3, dtype=np.float32).reshape(2, channels, 3, 3) / 50
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["output0"], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["images"], ["output1"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("output0", TensorProto.FLOAT, [None, 2, None, None]),
            helper.make_tensor_value_info("output1", TensorProto.INT64, [4]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"task": "detect"})
    onnx.save(model, path)
    return path


@pytest.fixture
def files(tmp_path):
    convert_to_uint8_input(small_network(tmp_path / "floats.onnx"), tmp_path / "bytes.onnx")
    onnx.checker.check_model(tmp_path / "bytes.onnx", full_check=True)
    return tmp_path / "floats.onnx", tmp_path / "bytes.onnx"


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 8, 24)])
def test_uint8_input_gives_what_float_input_gives_bit_for_bit(files, shape):
    floats, integers = (onnxruntime.InferenceSession(path) for path in files)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    prepared = pixels[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
    expected, actual = floats.run(None, {"images": prepared}), integers.run(None, {"images": pixels})
    assert np.array_equal(expected[0], actual[0])
    assert list(actual[1]) == [shape[0], 3, *shape[1:]]


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_that_are_no_colours_keep_their_order(channels, tmp_path):
    paths = tmp_path / "floats.onnx", tmp_path / "bytes.onnx"
    convert_to_uint8_input(small_network(paths[0], (1, channels, 8, 24), channels), paths[1])
    onnx.checker.check_model(paths[1], full_check=True)
    floats, integers = (onnxruntime.InferenceSession(path) for path in paths)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 24, channels), dtype=np.uint8)
    expected = floats.run(None, {"images": pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255})
    assert np.array_equal(expected[0], integers.run(None, {"images": pixels})[0])


def test_the_input_is_uint8_with_the_channels_last(files):
    (image,) = onnxruntime.InferenceSession(files[1]).get_inputs()
    assert (image.name, image.type, image.shape) == ("images", "tensor(uint8)", ["batch", "height", "width", 3])


def test_a_fixed_size_stays_fixed(tmp_path):
    convert_to_uint8_input(small_network(tmp_path / "floats.onnx", (2, 3, 8, 24)), tmp_path / "bytes.onnx")
    assert onnxruntime.InferenceSession(tmp_path / "bytes.onnx").get_inputs()[0].shape == [2, 8, 24, 3]


def test_source_and_metadata_stay(files):
    assert onnx.load(files[0]).graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert {entry.key: entry.value for entry in onnx.load(files[1]).metadata_props} == {"task": "detect"}
