"""Small ONNX files for tests, made with `onnx.helper`: they open in milliseconds and need no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

NAMES = {0: "disc", 1: "block", 2: "wedge"}
SIDE = 64
# One object of class `block` in the middle of the input, as a raw column: centre, size, scores.
COLUMN = (32.0, 32.0, 20.0, 12.0, 0.0, 0.9, 0.0)


def save_doubling(path: Path, opset: int = 17, ir: int = 8) -> Path:
    """Save a file that doubles a (1, 3, 8, 8) input, with its factor as a weight."""
    shape = [1, 3, 8, 8]
    factor = helper.make_tensor("factor", TensorProto.FLOAT, shape, np.full(shape, 2, np.float32).tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["images", "factor"], ["output0"])],
        "doubling",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        [factor],
    )
    return save(graph, path, {}, opset, ir)


def save_detector(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Save a detector that finds the object of `COLUMN` in every picture, with metadata as Ultralytics writes it."""
    columns = np.zeros((1, 7, 84), np.float32)
    columns[0, :, 40] = COLUMN
    constant = helper.make_tensor("columns", TensorProto.FLOAT, columns.shape, columns.tobytes(), raw=True)
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    # The answer depends on the input, or else the input would be dropped.
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0, axes=[1, 2, 3]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["columns", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(columns.shape))],
        [constant, zero],
    )
    said = {"task": "detect", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "names": str(NAMES), "end2end": "False"}
    return save(graph, path, said if metadata is None else metadata)


def save(graph: onnx.GraphProto, path: Path, metadata: dict[str, str], opset: int = 17, ir: int = 8) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path
