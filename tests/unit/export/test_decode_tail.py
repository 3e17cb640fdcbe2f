from __future__ import annotations

import numpy as np
import onnx
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.export.decode_tail import decode_tail, transpose_softmax, without_decode_tail
from graphs import TAIL, build, detector, node, run

WEIGHT = np.random.default_rng(0).normal(size=(4, 4)).astype("f4")
KERNEL = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype("f4")


@pytest.fixture
def image():
    return np.random.default_rng(1).random((1, 3, 32, 32), dtype="f4")


def test_the_tail_is_everything_after_the_last_learned_layers_with_the_expectation():
    assert decode_tail(detector()) == TAIL


def test_a_convolution_with_any_other_weights_is_learned():
    model = detector()
    count = next(entry for entry in model.graph.initializer if entry.name == "count")
    count.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 1, 2, 4], "f4").reshape(1, 4, 1, 1), "count"))
    assert decode_tail(model) == ["distances", "scores", "Sigmoid", "output"]


def test_a_product_of_two_activations_is_not_tail_if_a_learned_layer_follows():
    nodes = [
        node("MatMul", "x w", "keys"),
        node("MatMul", "keys keys", "attention"),
        node("MatMul", "attention w", "mixed"),
        node("MatMul", "mixed mixed", "last"),
    ]
    assert decode_tail(build(nodes, {"w": WEIGHT}, {"x": [4, 4]}, ["last"])) == ["last"]


@pytest.mark.parametrize(("kind", "attributes"), [("Gemm", {}), ("MatMul", {}), ("ConvTranspose", {})])
def test_every_kind_of_learned_layer_ends_the_body(kind, attributes):
    weight = np.ones((4, 4, 2, 2), "f4") if kind == "ConvTranspose" else WEIGHT
    shape = [1, 4, 2, 2] if kind == "ConvTranspose" else [4, 4]
    nodes = [node("Sigmoid", "x", "before"), node(kind, "before w", "learned"), node("Sigmoid", "learned", "after")]
    assert decode_tail(build(nodes, {"w": weight}, {"x": shape}, ["after"])) == ["after"]


def test_embedded_nms_and_computed_shapes_are_tail_unless_a_learned_layer_needs_them():
    nodes = [
        node("Shape", "images", "size"),
        node("ConstantOfShape", "size", "empty"),
        node("Add", "images empty", "filled"),
        node("Conv", "filled w", "cells"),
        node("Shape", "images", "size_again"),
        node("Reshape", "cells rows", "boxes"),
        node("NonMaxSuppression", "boxes boxes", "chosen"),
        node("Reshape", "cells size_again", "back"),
    ]
    model = build(nodes, {"w": KERNEL, "rows": np.array([1, -1, 4])}, {"images": [1, 3, 8, 8]}, ["back"])
    assert decode_tail(model) == ["size_again", "boxes", "chosen", "back"]


@pytest.mark.parametrize("name", ["", "/model.0/conv/Conv"])
def test_a_node_without_a_unique_name_is_refused(name):
    model = detector()
    model.graph.node[3].name = name
    with pytest.raises(FGDError, match="without a unique name"):
        decode_tail(model)


def test_the_outputs_of_the_body_are_the_inputs_of_the_tail(image):
    model = detector()
    body = without_decode_tail(model)
    onnx.checker.check_model(body, full_check=True)
    assert [value.name for value in body.graph.output] == ["box", "cls"]
    assert "count" not in {entry.name for entry in body.graph.initializer}
    model.graph.output.extend(body.graph.output)
    _, box, cls = run(model, image)
    assert np.array_equal(run(body, image)[0], box)
    assert np.array_equal(run(body, image)[1], cls)


def test_an_output_of_a_learned_layer_itself_stays_an_output_of_the_body():
    model = build([node("Conv", "images w", "cells")], {"w": KERNEL}, {"images": [1, 3, 8, 8]}, ["cells"])
    assert [value.name for value in without_decode_tail(model).graph.output] == ["cells"]


def test_the_transposed_softmax_gives_the_same_values(image):
    model = detector()
    (before,) = run(model, image)
    assert transpose_softmax(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert np.allclose(run(model, image)[0], before, rtol=0, atol=1e-6)
    assert np.ptp(before[:, :4]) > 0.5
    assert [entry.op_type for entry in model.graph.node].count("MatMul") == 1
    assert decode_tail(model) == TAIL
    assert transpose_softmax(model) == 0


@pytest.mark.parametrize(
    ("name", "attribute", "value"), [("turn", "perm", [0, 1, 2, 3]), ("Softmax", "axis", 2), ("Softmax", "axis", 3)]
)
def test_another_order_of_axes_is_left_unchanged(name, attribute, value):
    model = detector()
    changed = next(entry for entry in model.graph.node if entry.name == name)
    del changed.attribute[:]
    changed.attribute.append(onnx.helper.make_attribute(attribute, value))
    before = model.SerializeToString()
    assert transpose_softmax(model) == 0
    assert model.SerializeToString() == before


def test_an_expectation_that_is_not_followed_by_a_reshape_is_left_unchanged():
    model = detector()
    changed = next(entry for entry in model.graph.node if entry.name == "distances")
    changed.op_type = "Squeeze"
    del changed.input[1:]
    assert transpose_softmax(model) == 0
