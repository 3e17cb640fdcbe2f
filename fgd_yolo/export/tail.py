"""Where a detector stops computing and starts decoding its answers, found from the graph alone."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from fgd_yolo.errors import FGDError

LEARNED_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def decode_tail(model: ModelProto) -> list[str]:
    """Return the names of the nodes behind the last learned layers, in graph order.

    They turn logits into boxes and scores, and with embedded NMS choose among them. One tensor there holds
    pixels beside probabilities, so one int8 scale or the 11 bits of float16 ruin it, and it costs little: it
    stays float32.

    Convention:
        A learned layer is a convolution or matrix product with constant weights. The expectation over
        distances in YOLOv8's head is written as a convolution with the weights 0, 1, 2, ...: not learned.
        Nodes that only compute shapes count as tail where no learned layer depends on them.
    Args:
        model: a detector with a name for every node.
    Raises:
        FGDError: a node without a name or with another's, which nothing could be said about.
    """
    names = [node.name for node in model.graph.node]
    if "" in names or len(set(names)) < len(names):
        raise FGDError("the ONNX file has nodes without a name of their own; export it again from the checkpoint")
    weights = constants(model)
    needed: set[str] = set()
    for node in reversed(model.graph.node):
        if _learned(node, weights) or not needed.isdisjoint(node.output):
            needed.update((*node.input, *node.output))
    return [node.name for node in model.graph.node if needed.isdisjoint(node.output)]


def body(model: ModelProto) -> ModelProto:
    """Return a copy without the decode tail; its outputs are the tensors that the tail reads, or the model's own.

    Raises:
        FGDError: as `decode_tail`.
    """
    copy = shape_inference.infer_shapes(model)
    tail = set(decode_tail(copy))
    kept = [node for node in copy.graph.node if node.name not in tail]
    wanted = {name for node in copy.graph.node if node.name in tail for name in node.input}
    wanted |= {value.name for value in copy.graph.output}
    known = {value.name: value for value in (*copy.graph.value_info, *copy.graph.output)}
    made = [name for node in kept for name in node.output if name in wanted]
    outputs = [known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made]
    read = {name for node in kept for name in node.input}
    used = [entry for entry in copy.graph.initializer if entry.name in read]
    del copy.graph.node[:], copy.graph.output[:], copy.graph.initializer[:]
    copy.graph.node.extend(kept)
    copy.graph.output.extend(outputs)
    copy.graph.initializer.extend(used)
    return copy


def quicken(model: ModelProto) -> int:
    """Move the softmax over distances to the last axis, in place, and return how many there were.

    YOLOv8's head takes it over a middle axis, for which onnxruntime's CPU kernel needs six times as long:
    0.8 of the 12 ms of a YOLOv8n at 320 px. The values are the same to the last bit.

    Args:
        model: a detector whose head may hold Transpose, Softmax and the expectation as a convolution, in the
            host's order; one that holds anything else is left as it is.
    """
    weights = constants(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    initializers = {entry.name: entry for entry in model.graph.initializer}
    reshaped = {name for node in model.graph.node if node.op_type == "Reshape" for name in node.input[:1]}
    found = [
        node for node in model.graph.node if node.output[0] in reshaped and _is_expectation(node, producers, weights)
    ]
    for node in found:
        softmax = producers[node.input[0]]
        producers[softmax.input[0]].attribute[0].ints[:] = (0, 1, 3, 2)
        softmax.attribute[0].i = 3
        name = node.input[1]
        column = weights[name].reshape(-1, 1)
        initializers[name].CopyFrom(numpy_helper.from_array(column, name))
        node.op_type = "MatMul"
        del node.attribute[:]
    if found:
        del model.graph.value_info[:]  # they hold the shapes of before
    return len(found)


def constants(model: ModelProto) -> dict[str, np.ndarray]:
    """Return the constant tensors of a graph by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def _learned(node: NodeProto, weights: dict[str, np.ndarray]) -> bool:
    factors = [weights[name] for name in node.input[:2] if name in weights]
    return node.op_type in LEARNED_OPERATORS and not all(_counts_up(values) for values in factors)


def _counts_up(values: np.ndarray) -> bool:
    return np.array_equal(values.ravel(), np.arange(values.size))


def _is_expectation(node: NodeProto, producers: dict[str, NodeProto], weights: dict[str, np.ndarray]) -> bool:
    """Return whether a node is the convolution at the end of transpose, softmax, expectation, reshape."""
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
        and _counts_up(kernel)
    )


def _attribute(node: NodeProto, name: str) -> object:
    found = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}.get(name)
    return list(found) if isinstance(found, (list, tuple)) else found
