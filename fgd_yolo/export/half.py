"""A float16 copy of an exported detector, for hardware that computes in it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from fgd_yolo.export.tail import decode_tail


def to_half(source: Path, target: Path, float_nodes: Collection[str] = ()) -> None:
    """Write a copy with weights and activations in float16; input, output and the decode tail stay float32.

    The tail stays, because float16 has steps of half a pixel beyond 512 px.

    Args:
        source: a float32 detector.
        target: the file to write. Its metadata is that of the source.
        float_nodes: further nodes that stay float32, with all that lies between two of them.
    """
    model = onnx.load(source)
    own = {node.name for node in model.graph.node}
    kept = [*decode_tail(model), *float_nodes]
    _part_weights(model, set(kept))
    half = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    _join_casts(half, own)
    editor = OnnxModel(half)
    editor.prune_graph()
    editor.topological_sort()  # the converter appends its casts at the end
    onnx.save(half, target)


def _part_weights(model: ModelProto, kept: set[str]) -> None:
    """Give nodes that stay float32 constants of their own: the converter rounds one that a float16 node reads too."""
    shared = {name for node in model.graph.node if node.name not in kept for name in node.input}
    values = {entry.name: entry for entry in model.graph.initializer if entry.name in shared}
    copied: dict[str, str] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input if node.name in kept else ()):
            if name in values and name not in copied:
                copied[name] = f"{name}:float32"
                copy = model.graph.initializer.add()
                copy.CopyFrom(values[name])
                copy.name = copied[name]
            node.input[place] = copied.get(name, name)


def _join_casts(model: ModelProto, own: set[str]) -> None:
    """Let neighbours in float32 exchange float32: the converter rounds to float16 between any two of them."""
    narrowed = {node.output[0]: node.input[0] for node in _casts(model, TensorProto.FLOAT16, own)}
    joined = [node for node in _casts(model, TensorProto.FLOAT, own) if node.input[0] in narrowed]
    sources = {node.output[0]: narrowed[node.input[0]] for node in joined}
    for node in joined:  # one that writes an output of the file stays, as a copy
        node.input[0] = narrowed[node.input[0]]
    for node in model.graph.node:
        node.input[:] = [sources.get(name, name) for name in node.input]


def _casts(model: ModelProto, to: int, own: set[str]) -> list[NodeProto]:
    """Return the casts that the converter added, of those to one type, beside that of the image."""
    images = {entry.name for entry in model.graph.input}
    added = [node for node in model.graph.node if node.name not in own and node.op_type == "Cast"]
    return [node for node in added if node.attribute[0].i == to and node.input[0] not in images]
