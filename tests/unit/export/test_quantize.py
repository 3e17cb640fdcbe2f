from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, shape_inference

from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import measure_ranges
from fgd_yolo.export.decode_tail import without_decode_tail
from fgd_yolo.export.quantize import always_float, layers, quantize, rank_layers, shared_ranges
from fgd_yolo.export.sample_images import input_batches, read_images
from fixtures import draw_dataset
from graphs import TAIL, build, detector, node, run, silu

DEPTH = 5
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
    ranges = {name: (float(out.min()), float(out.max())) for name, out in zip(names, run(known, image), strict=True)}
    return {**ranges, "images": (0.0, 1.0)}


@pytest.fixture
def quantized(model, ranges):
    return quantize(model, ranges, always_float(model))


def producers(model):
    return {name: entry for entry in model.graph.node for name in entry.output}


def test_the_int8_file_is_valid_and_close_to_float32(model, quantized, image):
    onnx.checker.check_model(quantized, full_check=True)
    (actual,), (expected,) = run(quantized, image), run(model, image)
    assert actual.shape == expected.shape
    assert 0 < np.abs(actual - expected).max() < 0.1


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


def test_the_tail_and_all_nodes_of_the_layer_that_reads_the_image_are_always_float(model):
    assert sorted(always_float(model)) == sorted(TAIL + FIRST)


def test_a_first_layer_of_many_channels_may_be_int8():
    weight = np.ones((4, 8, 1, 1), "f4")
    wide = build([node("Conv", "x w", "y", "/model.0/conv/Conv")], {"w": weight}, {"x": [1, 8, 4, 4]}, ["y"])
    assert always_float(wide) == []


def test_named_nodes_stay_float(model, ranges, image):
    quantized = quantize(model, ranges, [entry.name for entry in model.graph.node])
    assert {entry.op_type for entry in quantized.graph.node}.isdisjoint({"QuantizeLinear", "DequantizeLinear"})
    assert np.array_equal(run(quantized, image)[0], run(model, image)[0])


def test_the_source_is_not_changed_and_the_metadata_is_kept(model, ranges):
    before = model.SerializeToString()
    quantized = quantize(model, ranges, always_float(model))
    assert model.SerializeToString() == before
    assert list(quantized.metadata_props) == list(model.metadata_props)


def test_an_opset_without_scales_per_channel_is_refused(ranges):
    with pytest.raises(FGDError, match="opset 13 or newer, got 12"):
        quantize(detector(opset=12), ranges, [])


@pytest.fixture
def connected():
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


def test_connected_tensors_share_the_widest_range_through_any_number_of_nodes(connected):
    shared = shared_ranges(*connected, float_nodes=[])
    assert {shared[name] for name in ("a", "b", "ab", "pooled", "c", "all")} == {(-2, 9)}
    assert (shared["end"], shared["d"], shared["rows"], shared["shape"]) == ((0, 1), (3, 5), (3, 5), (0, 100))


def test_a_float_node_connects_nothing(connected):
    shared = shared_ranges(*connected, float_nodes=["pooled"])
    assert {shared[name] for name in ("a", "b", "ab")} == {(-2, 1)}
    assert {shared[name] for name in ("pooled", "c", "all")} == {(-1, 9)}


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


def chain(planted: int) -> object:
    """Convolutions in a row; one of them has a huge constant channel, which the next one ignores.

    In float32 that channel does nothing. In int8 all other channels are smaller than one step of its scale.
    """
    random = np.random.default_rng(0)
    nodes, constants, before = [], {}, "images"
    for index in range(DEPTH):
        layer = f"model.{index}"
        inputs = 3 if index == 0 else 8
        weight = random.normal(scale=(2 / inputs) ** 0.5, size=(8, inputs, 1, 1)).astype("f4")
        bias = np.zeros(8, "f4")
        if index == planted:
            weight[0], bias[0] = 0, 1e4
        if index == planted + 1:
            weight[:, 0] = 0
        nodes += [node("Conv", f"{before} w{index} b{index}", f"{layer}/conv", f"/{layer}/conv/Conv"), *silu(layer)]
        constants |= {f"w{index}": weight, f"b{index}": bias}
        before = f"{layer}/act"
    nodes.append(node("Conv", f"{before} w", "end", f"/model.{DEPTH}/Conv"))
    return build(nodes, {**constants, "w": np.ones((1, 8, 1, 1), "f4")}, {"images": [1, 3, 32, 32]}, ["end"])


@pytest.fixture
def images(tmp_path):
    data = draw_dataset(tmp_path / "data", train=4, val=1)
    return sorted((data.parent / "images/train").iterdir())


def ranked(model, images):
    body = without_decode_tail(model)
    ranges = measure_ranges(body, images, 32)
    batches = list(input_batches(body, read_images(images[:2], "reading"), 32))
    return rank_layers(body, ranges, always_float(model), batches)


@pytest.mark.parametrize("planted", [1, 2, 3])
def test_the_layers_on_both_sides_of_a_bad_tensor_are_the_most_sensitive(images, planted):
    order = [names[0].split("/")[1] for names in ranked(chain(planted), images)]
    assert sorted(order[:2]) == [f"model.{planted}", f"model.{planted + 1}"]
    assert sorted(order) == [f"model.{index}" for index in range(1, DEPTH + 1)]


def test_every_node_that_may_be_int8_is_ranked_once_and_no_other(images):
    model = detector()
    names = [name for layer in ranked(model, images) for name in layer]
    assert sorted(names) == sorted({node.name for node in model.graph.node} - set(always_float(model)))
