"""Small ONNX files for tests, made with `onnx.helper`: they open in milliseconds and need no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.session import open_session

NAMES = {0: "disc", 1: "block", 2: "wedge"}
SIDE = 64
# One object of class `block` in the centre of the input, as a raw column: centre, size, scores.
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


def save_detector(path: Path, metadata: dict[str, str] | None = None, channels: int = 3) -> Path:
    """Save a detector that detects the object of `COLUMN` in every image, with metadata as Ultralytics writes it."""
    columns = np.zeros((1, 7, 84), np.float32)
    columns[0, :, 40] = COLUMN
    constant = helper.make_tensor("columns", TensorProto.FLOAT, columns.shape, columns.tobytes(), raw=True)
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    # The output depends on the input, which would be removed otherwise.
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0, axes=[1, 2, 3]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["columns", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, channels, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(columns.shape))],
        [constant, zero],
    )
    common = {"task": "detect", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "names": str(NAMES), "end2end": "False"}
    return save(graph, path, {**common, "channels": str(channels)} if metadata is None else metadata)


def save_brightness_detector(
    path: Path,
    boxes_cxcywh: Sequence[Sequence[float]],
    fractions: Sequence[float],
    labels: Sequence[int],
    *,
    classes: int = 1,
    batch: int | str = 1,
    side: int | str = SIDE,
    channels: int = 3,
    uint8: bool = False,
    decoded: bool = False,
    metadata: dict[str, str],
) -> Path:
    """Save a detector of fixed boxes whose scores are fractions of the brightness of the image.

    Args:
        path: where to write it.
        boxes_cxcywh: the boxes, as the network writes them.
        fractions: the score of each box over the brightness.
        labels: the class of each box.
        classes: number of classes.
        batch: a number, or a name for a dynamic axis.
        side: side of the input, a number or a name.
        channels: number of channels of the images.
        uint8: take images as (batch, side, side, channels) uint8 instead of (batch, channels, side, side) float.
        decoded: write rows of box, score and class instead of columns of box and scores.
        metadata: entries of the file; those of a uint8 input are added.
    """
    count, width = len(boxes_cxcywh), 6 if decoded else 4 + classes
    fixed, scale = np.zeros((1, width, count), np.float32), np.zeros((1, width, count), np.float32)
    fixed[0, :4] = np.transpose(boxes_cxcywh)
    if decoded:
        fixed[0, 5], scale[0, 4] = labels, fractions
    else:
        scale[0, 4 + np.array(labels), np.arange(count)] = fractions
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["means", "column"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "scale"], ["scores"]),
        helper.make_node("Add", ["fixed", "scores"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["output0"], perm=[0, 2, 1] if decoded else [0, 1, 2]),
    ]
    constants = {"column": np.array([-1, 1, 1]), "scale": scale / 255 if uint8 else scale, "fixed": fixed}
    input_shape = [batch, side, side, channels] if uint8 else [batch, channels, side, side]
    output_shape = [batch, count, width] if decoded else [batch, width, count]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8 if uint8 else TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    order = {1: "GRAY", 3: "BGR"}.get(channels, "UNCHANGED")
    preprocessing = {"input": "uint8", "layout": "NHWC", "channels": order, "scale": 1, "padding": 114}
    package = {"fgd_yolo": json.dumps({"version": 1, "preprocessing": preprocessing})} if uint8 else {}
    return save(graph, path, {"task": "detect", "channels": str(channels), **package, **metadata}, opset=13)


def save(graph: onnx.GraphProto, path: Path, metadata: dict[str, str], opset: int = 17, ir: int = 8) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def session_error(path: Path, capfd) -> str:
    """Return the one line of the error for a file that cannot be opened; nothing else may be printed."""
    with pytest.raises(FGDError) as caught:
        open_session(path, "cpu")
    assert capfd.readouterr() == ("", "")
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert type(caught.value) is FGDError
    return str(caught.value)
