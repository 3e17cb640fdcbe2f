"""Nodes that exceed float16 stay float32, so that the file is correct in true float16 arithmetic."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, shape_inference
from onnx.reference import ReferenceEvaluator

from fgd_yolo.errors import FGDError
from fgd_yolo.export.decode_tail import without_decode_tail
from fgd_yolo.export.fp16 import check_range, find_float_nodes, measure_magnitudes, to_float16
from fixtures import draw_dataset
from graphs import TAIL, build, detector, node, run


def kernel(value: float, outputs: int = 2, inputs: int = 2) -> np.ndarray:
    return np.full((outputs, inputs, 1, 1), value, "f4")


def chain(first: list, constants: dict):
    """Return a model of `first`, which computes `middle` from `start`, between two plain learned layers."""
    nodes = [
        node("Conv", "images into", "start"),
        *first,
        node("Conv", "middle out", "logits"),
        node("Sigmoid", "logits", "output"),
    ]
    constants = {"into": kernel(0.5, 2, 3), "out": kernel(0.25), **constants}
    return shape_inference.infer_shapes(build(nodes, constants, {"images": [1, 3, 8, 8]}, ["output"]))


def amplified(gain: float, **constants):
    """Return a layer that multiplies by `gain`, its activation, and one that divides by it."""
    first = [node("Conv", "start up", "high"), node("Relu", "high", "active"), node("Conv", "active down", "middle")]
    return chain(first, {"up": kernel(gain), "down": kernel(1 / gain), **constants})


def plain_images(*brightness: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), value, np.uint8) for value in brightness]


def float_nodes(model, folder, images=None, data=None) -> tuple[str, ...]:
    onnx.save(model, folder / "full.onnx")
    return find_float_nodes(folder / "full.onnx", images or plain_images(128), data=data, imgsz=8).float_nodes


def halved(model, folder, names=()):
    onnx.save(model, folder / "full.onnx")
    to_float16(folder / "full.onnx", folder / "half.onnx", names)
    return onnx.load(folder / "half.onnx")


def in_float16_arithmetic(model, image: np.ndarray) -> np.ndarray:
    """Return what a device that rounds every tensor of float16 to float16 computes."""
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {"images": image})[0]


def test_a_layer_that_overflows_stays_float32_with_all_nodes_that_read_it(tmp_path):
    model = amplified(4e4)  # white pixels: 1.5 * 8e4
    assert float_nodes(model, tmp_path) == ("high", "active", "middle")
    image = np.ones((1, 3, 8, 8), "f4")
    expected = run(model, image)[0]
    wrong = in_float16_arithmetic(halved(model, tmp_path), image)
    assert not np.allclose(wrong, expected, atol=0.01)
    assert np.allclose(run(halved(model, tmp_path), image)[0], expected, atol=0.01), "a CPU does not overflow"
    right = halved(model, tmp_path, ("high", "active", "middle"))
    onnx.checker.check_model(right, full_check=True)
    assert np.allclose(in_float16_arithmetic(right, image), expected, atol=0.01)


@pytest.mark.parametrize(("gain", "stays"), [(5000, False), (5500, True)])
def test_a_quarter_of_the_largest_float16_value_is_the_limit(gain, stays, tmp_path):
    """White gives 1.5 before and 3 * gain after the layer; a quarter of 65504 is 16376."""
    assert bool(float_nodes(amplified(gain), tmp_path)) == stays


def test_one_train_image_that_overflows_is_enough(tmp_path):
    """Only red images reach the layer: of black, white, grey and noise the mean of red minus blue is about 0."""
    data = draw_dataset(tmp_path / "data", train=6)
    for path in sorted((data.parent / "images/train").iterdir()):
        cv2.imwrite(str(path), np.full((8, 8, 3), (0, 0, 255) if path.stem == "03" else 90, np.uint8))
    difference = np.array([1, 0, -1], "f4").reshape(1, 3, 1, 1) * np.ones((2, 1, 8, 8), "f4") / 64
    model = amplified(2e4, into=difference)
    assert float_nodes(model, tmp_path) == ()
    assert float_nodes(model, tmp_path, data=data) == ("high", "active", "middle")


def test_partial_sums_count_where_the_sum_itself_is_small(tmp_path):
    opposite = np.array([5e4, -5e4], "f4").reshape(1, 2, 1, 1) * np.ones((2, 1, 1, 1), "f4")
    model = chain([node("Conv", "start up", "middle")], {"up": opposite})  # both channels are equal
    white = np.ones((1, 3, 8, 8), "f4")
    assert not run(without_decode_tail(model), white)[0].any()
    assert float_nodes(model, tmp_path) == ("middle",)


def test_a_sum_that_only_the_bias_makes_small_counts_with_its_absolute_terms():
    """A device that adds the bias last stores 6e4 before it subtracts 6e4."""
    model = chain([node("Conv", "start up low", "middle")], {"up": kernel(2e4), "low": np.full(2, -6e4, "f4")})
    magnitudes = measure_magnitudes(without_decode_tail(model), [np.ones((1, 3, 8, 8), "f4")])
    assert (magnitudes.values["middle"], magnitudes.sums["middle"]) == (0, 12e4)


def test_products_of_two_computed_tensors_are_measured_too(tmp_path):
    """As in attention: the scaling follows the product."""
    first = [
        node("Mul", "start big", "many"),
        node("MatMul", "many many", "product"),
        node("Mul", "product small", "scaled"),
        node("Softmax", "scaled", "middle", axis=3),
    ]
    model = chain(first, {"big": np.array(100, "f4"), "small": np.array(1e-5, "f4")})
    assert float_nodes(model, tmp_path) == ("product", "scaled")


@pytest.mark.parametrize("place", ["initialiser", "node"])
def test_a_constant_above_float16_stays_float32(place, tmp_path):
    """The converter would silently clip it to 65504."""
    first = [node("Mul", "start little", "small"), node("Mul", "small far", "middle")]
    model = chain(first, {"little": np.array(1e-3, "f4"), "far": np.array(3e5, "f4"), "out": kernel(1e-3)})
    if place == "node":
        value = model.graph.initializer[[entry.name for entry in model.graph.initializer].index("far")]
        constant = onnx.helper.make_node("Constant", [], ["far"], name="far", value=value)
        model.graph.initializer.remove(value)
        model.graph.node.insert(0, constant)
    names = float_nodes(model, tmp_path)
    assert names == (("far", "middle") if place == "node" else ("middle",))
    image = np.ones((1, 3, 8, 8), "f4")
    right = in_float16_arithmetic(halved(model, tmp_path, names), image)
    assert np.allclose(right, run(model, image)[0], atol=0.01)


def test_values_and_constants_that_float16_rounds_to_zero_stay_float32(tmp_path):
    tiny = [node("Mul", "start small", "less"), node("Mul", "less large", "middle")]
    model = chain(tiny, {"small": np.array(1e-9, "f4"), "large": np.array(1e9, "f4")})
    assert float_nodes(model, tmp_path) == ("less", "middle")
    tiny = [
        node("Mul", "start third", "few"),
        node("Mul", "few third", "less"),
        node("Mul", "less large", "middle"),
    ]
    model = chain(tiny, {"third": np.array(1e-3, "f4"), "large": np.array(1e4, "f4")})
    assert float_nodes(model, tmp_path) == ("less", "middle")
    weights = [node("Mul", "start large", "many"), node("Conv", "many up", "middle")]
    assert float_nodes(chain(weights, {"large": np.array(1e4, "f4"), "up": kernel(1e-6)}), tmp_path) == ("middle",)
    variances = [node("BatchNormalization", "start one zero zero variance", "middle", epsilon=1e-3)]
    constants = {"one": np.ones(2, "f4"), "zero": np.zeros(2, "f4"), "variance": np.array([1, 1e-7], "f4")}
    assert float_nodes(chain(variances, constants), tmp_path) == ("middle",)


def test_a_tiny_constant_keeps_a_divisor_from_zero(tmp_path):
    first = [
        node("Mul", "start start", "squares"),
        node("Add", "squares least", "more"),
        node("Sqrt", "more", "size"),
        node("Div", "start size", "middle"),
    ]
    model, black = chain(first, {"least": np.array(1e-12, "f4")}), np.zeros((1, 3, 8, 8), "f4")
    assert float_nodes(model, tmp_path) == ("more", "size", "middle")
    right = in_float16_arithmetic(halved(model, tmp_path, float_nodes(model, tmp_path)), black)
    assert np.array_equal(right, run(model, black)[0])


def test_single_tiny_weights_and_dead_channels_are_harmless(tmp_path):
    up = kernel(0.5)
    up[0, 0] = 1e-8
    assert float_nodes(chain([node("Conv", "start up", "middle")], {"up": up}), tmp_path) == ()
    up[1] = 1e-7
    assert float_nodes(chain([node("Conv", "start up", "middle")], {"up": up}), tmp_path) == ()


def test_a_constant_that_float16_nodes_share_keeps_its_value_in_float32(tmp_path):
    nodes = [
        node("Mul", "start third", "half"),
        node("Mul", "half third", "sixth"),
        node("Mul", "sixth gain", "middle"),
    ]
    model = chain(nodes, {"third": np.array(1 / 3, "f4"), "gain": np.array(1, "f4")})
    values = {
        entry.name: onnx.numpy_helper.to_array(entry) for entry in halved(model, tmp_path, ["sixth"]).graph.initializer
    }
    assert {value.dtype for name, value in values.items() if "third" in name} == {np.dtype("f2"), np.dtype("f4")}
    assert np.float32(1 / 3) in [value for value in values.values() if value.dtype == np.float32]


def test_nan_in_float32_is_reported_as_a_fault_of_the_checkpoint(tmp_path):
    model = chain(
        [node("Log", "start", "logarithm"), node("Mul", "logarithm zero", "middle")], {"zero": np.array(0, "f4")}
    )
    with pytest.raises(FGDError, match="the checkpoint itself gives NaN or infinity on a real image"):
        float_nodes(model, tmp_path, plain_images(128, 0))
    float_nodes(model, tmp_path, plain_images(128))  # black alone, a synthetic image, does not fault the checkpoint


def test_a_float16_tensor_that_overflows_in_the_finished_file_is_named(tmp_path):
    model, image = amplified(1e5), np.ones((1, 3, 8, 8), "f4")
    halved(model, tmp_path, ("active", "middle"))
    with pytest.raises(FGDError, match=r"high\S* reaches .* above the float16 limit of 65504"):
        check_range(tmp_path / "half.onnx", [image])
    halved(model, tmp_path, ("high", "active", "middle"))
    check_range(tmp_path / "half.onnx", [image])


def test_ranges_are_those_of_plain_numpy(tmp_path):
    random = np.random.default_rng(1)
    up, image = random.normal(size=(2, 2, 1, 1)).astype("f4"), random.random((1, 3, 8, 8), dtype="f4")
    model = chain([node("Conv", "start up", "middle")], {"up": up})
    start = np.einsum("oihw,nihw->nohw", np.zeros((2, 3, 8, 8)) + 0.5, image)
    middle = np.einsum("oi,nihw->nohw", up[..., 0, 0], start)
    sums = np.einsum("oi,nihw->nohw", np.abs(up[..., 0, 0]), np.abs(start))
    magnitudes = measure_magnitudes(without_decode_tail(model), [image * 0, image])
    assert magnitudes.values["start"] == pytest.approx(np.abs(start).max(), rel=1e-5)
    assert magnitudes.values["middle"] == pytest.approx(np.abs(middle).max(), rel=1e-5)
    assert magnitudes.sums["middle"] == pytest.approx(sums.max(), rel=1e-5)


def test_weights_are_float16_while_input_output_and_tail_stay_float32(tmp_path):
    half = halved(detector(), tmp_path)
    onnx.checker.check_model(half, full_check=True)
    types = {entry.name: entry.data_type for entry in half.graph.initializer}
    assert {types[name] for name in ("w0", "b0", "w1", "w2", "wbox", "wcls")} == {TensorProto.FLOAT16}
    assert types["count"] == TensorProto.FLOAT
    image = np.random.default_rng(0).random((1, 3, 32, 32), dtype="f4")
    (actual,), (expected,) = run(half, image), run(detector(), image)
    assert actual.dtype == np.float32
    assert 0 < np.abs(actual - expected).max() < 0.01


def test_no_float16_lies_between_two_nodes_of_the_tail(tmp_path):
    half = halved(detector(), tmp_path)
    inferred = onnx.shape_inference.infer_shapes(half).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    for entry in half.graph.node:
        if entry.name in TAIL:
            assert TensorProto.FLOAT16 not in {types.get(name) for name in (*entry.input, *entry.output)}
    assert (
        sum(entry.op_type == "Cast" for entry in half.graph.node) == 4
    )  # the image in, boxes and logits to the tail, the output's copy


def test_pixels_in_the_tail_keep_their_fractions(tmp_path):
    nodes = [
        node("Conv", "images w", "cells"),
        node("Add", "cells far", "moved"),
        node("Sub", "moved far", "back"),
    ]
    constants = {"w": np.full((1, 3, 1, 1), 0.25, "f4"), "far": np.array(4097.5, "f4")}
    model = build(nodes, constants, {"images": [1, 3, 4, 4]}, ["back"])
    image = np.full((1, 3, 4, 4), 0.5, "f4")
    assert np.allclose(run(halved(model, tmp_path), image)[0], 0.375, atol=1e-3)  # float16 has steps of 4 there


def test_the_metadata_is_kept(tmp_path):
    entries = {entry.key: entry.value for entry in halved(detector(), tmp_path).metadata_props}
    assert entries == {"task": "detect", "names": "{0: 'disc', 1: 'block'}"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.onnx", "half.onnx", "here"]
