from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from fgd_yolo.export.half import to_half
from graphs import TAIL, build, detector, node, run


def halved(model, folder):
    onnx.save(model, folder / "full.onnx")
    to_half(folder / "full.onnx", folder / "half.onnx")
    return onnx.load(folder / "half.onnx")


def test_weights_are_float16_while_input_output_and_tail_stay_float32(tmp_path):
    half = halved(detector(), tmp_path)
    onnx.checker.check_model(half, full_check=True)
    types = {entry.name: entry.data_type for entry in half.graph.initializer}
    assert {types[name] for name in ("w0", "b0", "w1", "w2", "wbox", "wcls")} == {TensorProto.FLOAT16}
    assert types["count"] == TensorProto.FLOAT
    image = np.random.default_rng(0).random((1, 3, 32, 32), dtype="f4")
    (found,), (wanted,) = run(half, image), run(detector(), image)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - wanted).max() < 0.01


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
