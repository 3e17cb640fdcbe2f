from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, shape_inference

from fgd_yolo.errors import FGDError
from fgd_yolo.export.quantize import always_float, layers, quantize, shared_ranges
from graphs import TAIL, build, detector, node, run

FIRST = ["/model.0/conv/Conv", "/model.0/act/Sigmoid", "/model.0/act/Mul"]


@pytest.fixture
def image():
    return np.random.default_rng(1).random((1, 3, 32, 32), dtype="f4")


@pytest.fixture
def model():
    return shape_inference.infer_shapes(detector())


@pytest.fixture
def ranges(model, image):
    """The exact range of every float tensor on one image, by running the model with all of them as outputs."""
    known = shape_inference.infer_shapes(model)
    known.graph.output.extend(known.graph.value_info)
    names = [value.name for value in known.graph.output]
    found = {name: (float(out.min()), float(out.max())) for name, out in zip(names, run(known, image), strict=True)}
    return {**found, "images": (0.0, 1.0)}


@pytest.fixture
def quantized(model, ranges):
    return quantize(model, ranges, always_float(model))


def producers(model):
    return {name: entry for entry in model.graph.node for name in entry.output}


def test_the_int8_file_is_valid_and_close_to_float32(model, quantized, image):
    onnx.checker.check_model(quantized, full_check=True)
    (found,), (wanted,) = run(quantized, image), run(model, image)
    assert found.shape == wanted.shape
    assert 0 < np.abs(found - wanted).max() < 0.1


def test_weights_are_signed_with_a_scale_per_channel_and_activations_unsigned(quantized):
    values = {entry.name: numpy_helper.to_array(entry) for entry in quantized.graph.initializer}
    weights = [entry for entry in quantized.graph.node if entry.input[0] in ("w1_quantized", "wbox_quantized")]
    assert [values[entry.input[0]].dtype for entry in weights] == [np.int8, np.int8]
    assert [values[entry.input[1]].shape for entry in weights] == [(8,), (16,)]
    assert [np.abs(values[entry.input[0]]).max() for entry in weights] == [127, 127]  # all 8 bits
    activations = [entry for entry in quantized.graph.node if entry.op_type == "QuantizeLinear"]
    assert len(activations) > 5
    assert {values[entry.input[2]].dtype for entry in activations} == {np.dtype(np.uint8)}


def test_tail_and_image_layer_read_no_int8_while_the_rest_does(model, quantized):
    made_by = producers(quantized)
    for entry in quantized.graph.node:
        before = {made_by[name].op_type for name in entry.input if name in made_by}
        if entry.name in TAIL[1:] + FIRST and entry.name not in ("rows", "scores"):
            assert "DequantizeLinear" not in before, entry.name
        elif entry.name in {kept.name for kept in model.graph.node} - {"rows", "scores"}:
            assert before == {"DequantizeLinear"}, entry.name
    assert next(entry for entry in quantized.graph.node if entry.name == FIRST[0]).input[0] == "images"


def test_always_float_are_the_tail_and_the_whole_layer_that_reads_the_image(model):
    assert sorted(always_float(model)) == sorted(TAIL + FIRST)


def test_a_first_layer_of_many_channels_may_be_int8():
    weight = np.ones((4, 8, 1, 1), "f4")
    wide = build([node("Conv", "x w", "y", "/model.0/conv/Conv")], {"w": weight}, {"x": [1, 8, 4, 4]}, ["y"])
    assert always_float(wide) == []


def test_what_is_named_stays_float(model, ranges, image):
    quantized = quantize(model, ranges, [entry.name for entry in model.graph.node])
    assert {entry.op_type for entry in quantized.graph.node}.isdisjoint({"QuantizeLinear", "DequantizeLinear"})
    assert np.array_equal(run(quantized, image)[0], run(model, image)[0])


def test_the_source_is_not_changed_and_the_metadata_is_kept(model, ranges):
    before = model.SerializeToString()
    quantized = quantize(model, ranges, always_float(model))
    assert model.SerializeToString() == before
    assert list(quantized.metadata_props) == list(model.metadata_props)


def test_an_opset_without_scales_per_channel_is_refused(ranges):
    with pytest.raises(FGDError, match="opset 13 or newer, not 12"):
        quantize(detector(opset=12), ranges, [])


@pytest.fixture
def carriers():
    nodes = [
        node("Concat", "a b", "ab", axis=1),
        node("MaxPool", "ab", "pooled", kernel_shape=[2, 2]),
        node("Concat", "pooled c", "all", axis=1),
        node("Sigmoid", "all", "end"),
        node("Reshape", "d shape", "rows"),
    ]
    ranges = {"a": (0, 1), "b": (-2, 0), "ab": (-2, 1), "pooled": (-1, 1), "c": (0, 9), "all": (-1, 9)}
    ranges |= {"end": (0, 1), "d": (3, 4), "shape": (0, 100), "rows": (3, 5)}
    inputs = {name: [1, 2, 4, 4] for name in "abcd"}
    return build(nodes, {"shape": np.array([1, -1])}, inputs, ["end", "rows"]), ranges


def test_joined_tensors_share_the_widest_range_through_any_number_of_joints(carriers):
    found = shared_ranges(*carriers, float_nodes=[])
    assert {found[name] for name in ("a", "b", "ab", "pooled", "c", "all")} == {(-2, 9)}
    assert (found["end"], found["d"], found["rows"], found["shape"]) == ((0, 1), (3, 5), (3, 5), (0, 100))


def test_a_joint_in_float_joins_nothing(carriers):
    found = shared_ranges(*carriers, float_nodes=["pooled"])
    assert {found[name] for name in ("a", "b", "ab")} == {(-2, 1)}
    assert {found[name] for name in ("pooled", "c", "all")} == {(-1, 9)}


def test_layers_are_modules_of_two_levels():
    names = [
        "/model.0/conv/Conv",
        "/model.0/act/Mul",
        "/model.2/m.0/cv1/conv/Conv",
        "/model.2/m.0/cv2/act/Mul",
        "/model.2/Split",
        "/model/model.2/m.0/Add",
        "Conv_7",
    ]
    assert layers(names) == {
        "/model.0": names[:2],
        "/model.2/m.0": [names[2], names[3], names[5]],
        "/model.2": [names[4]],
        "Conv_7": ["Conv_7"],
    }


def test_activations_are_not_rounded_to_fewer_than_256_steps(model, ranges):
    quantized = quantize(model, ranges, always_float(model))
    scales = {entry.name: numpy_helper.to_array(entry) for entry in quantized.graph.initializer}
    lowest, highest = ranges["box"]
    (step,) = [scales[entry.input[1]] for entry in quantized.graph.node if entry.input[0] == "box"]
    assert float(step) == pytest.approx((highest - lowest) / 255, rel=1e-4)
    assert {entry.data_type for entry in quantized.graph.initializer} >= {TensorProto.INT8, TensorProto.INT32}
