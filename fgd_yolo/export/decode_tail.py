"""Find where the learned layers of a detector end and the decoding of its outputs begins, using only the graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from fgd_yolo.errors import FGDError

LEARNED_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def decode_tail(model: ModelProto) -> list[str]:
    """Return the names of the nodes after the last learned layers, in graph order.

    They turn logits into boxes and scores, and embedded NMS filters these. One tensor there holds
    pixels beside probabilities, which neither one int8 scale nor the 11 bits of float16 can represent, and the nodes
    cost little: they stay float32.

    Convention:
        A learned layer is a convolution or matrix product with constant weights. The expectation over
        distances in YOLOv8's head is written as a convolution with the weights 0, 1, 2, ...: not learned.
        Nodes that only compute shapes belong to the tail if no learned layer depends on them.
    Args:
        model: a detector with a name for every node.
    Raises:
        FGDError: a node has no name, or a duplicate one.
    """
    names = [node.name for node in model.graph.node]
    if "" in names or len(set(names)) < len(names):
        raise FGDError("the ONNX file has nodes without a unique name; export it again from the checkpoint")
    weights = constants(model)
    needed: set[str] = set()
    for node in reversed(model.graph.node):
        if _learned(node, weights) or not needed.isdisjoint(node.output):
            needed.update((*node.input, *node.output))
    return [node.name for node in model.graph.node if needed.isdisjoint(node.output)]


def without_decode_tail(model: ModelProto) -> ModelProto:
    """Return a copy without the decode tail; its outputs are the tensors that the tail reads, or the model's own.

    Raises:
        FGDError: as `decode_tail`.
    """
    copy = shape_inference.infer_shapes(model)
    tail = set(decode_tail(copy))
    body = [node for node in copy.graph.node if node.name not in tail]
    outputs = {name for node in copy.graph.node if node.name in tail for name in node.input}
    outputs |= {value.name for value in copy.graph.output}
    known = {value.name: value for value in (*copy.graph.value_info, *copy.graph.output)}
    names = [name for node in body for name in node.output if name in outputs]
    values = [known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    read = {name for node in body for name in node.input}
    initializers = [entry for entry in copy.graph.initializer if entry.name in read]
    del copy.graph.node[:], copy.graph.output[:], copy.graph.initializer[:]
    copy.graph.node.extend(body)
    copy.graph.output.extend(values)
    copy.graph.initializer.extend(initializers)
    return copy


def transpose_softmax(model: ModelProto) -> int:
    """Move the softmax over distances to the last axis, in place, and return how many were moved.

    YOLOv8's head applies it to a middle axis, for which onnxruntime's CPU kernel takes six times as long: 0.8 of the
    12 ms of a YOLOv8n at 320 px. The values are the same to the last bit.

    Args:
        model: a detector whose head may contain Transpose, Softmax and the expectation as a convolution, in the
            order of Ultralytics; any other head is left unchanged.
    """
    weights = constants(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    initializers = {entry.name: entry for entry in model.graph.initializer}
    reshaped = {name for node in model.graph.node if node.op_type == "Reshape" for name in node.input[:1]}
    expectations = [
        node for node in model.graph.node if node.output[0] in reshaped and _is_expectation(node, producers, weights)
    ]
    for node in expectations:
        softmax = producers[node.input[0]]
        producers[softmax.input[0]].attribute[0].ints[:] = (0, 1, 3, 2)
        softmax.attribute[0].i = 3
        name = node.input[1]
        column = weights[name].reshape(-1, 1)
        initializers[name].CopyFrom(numpy_helper.from_array(column, name))
        node.op_type = "MatMul"
        del node.attribute[:]
    if expectations:
        del model.graph.value_info[:]  # outdated shapes
    return len(expectations)


def constants(model: ModelProto) -> dict[str, np.ndarray]:
    """Return the constant tensors of a graph by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def _learned(node: NodeProto, weights: dict[str, np.ndarray]) -> bool:
    factors = [weights[name] for name in node.input[:2] if name in weights]
    return node.op_type in LEARNED_OPERATORS and not all(_is_range(values) for values in factors)


def _is_range(values: np.ndarray) -> bool:
    return np.array_equal(values.ravel(), np.arange(values.size))


def _is_expectation(node: NodeProto, producers: dict[str, NodeProto], weights: dict[str, np.ndarray]) -> bool:
    """Return whether a node is the convolution after a transpose and a softmax that computes an expectation."""
    softmax = producers.get(node.input[0]) if node.op_type == "Conv" and len(node.input) == 2 else None
    if softmax is None or softmax.op_type != "Softmax" or _attribute(softmax, "axis") != 1:
        return False
    transpose = producers.get(softmax.input[0])
    kernel = weights.get(node.input[1])
    return (
        transpose is not None
        and transpose.op_type == "Transpose"
        and _attribute(transpose, "perm") == [0, 2, 1, 3]
        and kernel is not None
        and kernel.shape[0] == 1
        and kernel.shape[2:] == (1, 1)
        and _is_range(kernel)
    )


def _attribute(node: NodeProto, name: str) -> object:
    value = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}.get(name)
    return list(value) if isinstance(value, (list, tuple)) else value
