"""A small detector, built node by node: image layer, SiLU, a concatenation, and a head like that of YOLOv8."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

TAIL = ["rows", "bins", "turn", "Softmax", "expect", "distances", "scores", "Sigmoid", "output"]
"""The nodes of `detector` after its last learned layers, in graph order."""


def node(kind: str, inputs: str, output: str, name: str = "", **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=name or output, **attributes)


def build(nodes: list, constants: dict, inputs: dict, outputs: list[str], opset: int = 13) -> ModelProto:
    """Return a model; constants are arrays by name, inputs shapes by name, outputs have any shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = shape_inference.infer_shapes(model).graph.output
    del model.graph.output[:]
    model.graph.output.extend(inferred)
    helper.set_model_props(model, {"task": "detect", "names": "{0: 'disc', 1: 'block'}"})
    return model


def silu(layer: str) -> list:
    """Return a layer's activation, on its convolution's output `layer/conv`; its own output is `layer/act`."""
    return [
        node("Sigmoid", f"{layer}/conv", f"{layer}/gate", f"/{layer}/act/Sigmoid"),
        node("Mul", f"{layer}/conv {layer}/gate", f"{layer}/act", f"/{layer}/act/Mul"),
    ]


def detector(opset: int = 13, shape: tuple = (1, 3, 32, 32), seed: int = 0) -> ModelProto:
    """Return a model of 2 classes and 4 bins per distance, whose output is (1, 4 + 2, 64)."""
    random = np.random.default_rng(seed)

    def kernel(outputs: int, inputs: int, side: int) -> np.ndarray:
        spread = (2 / (inputs * side * side)) ** 0.5
        return random.normal(scale=spread, size=(outputs, inputs, side, side)).astype(np.float32)

    nodes = [
        node("Conv", "images w0 b0", "model.0/conv", "/model.0/conv/Conv", strides=[2, 2], pads=[1] * 4),
        *silu("model.0"),
        node("Conv", "model.0/act w1 b1", "model.1/conv", "/model.1/conv/Conv", strides=[2, 2], pads=[1] * 4),
        *silu("model.1"),
        node("Conv", "model.1/act w2 b1", "model.2/conv", "/model.2/conv/Conv", pads=[1] * 4),
        *silu("model.2"),
        node("Concat", "model.1/act model.2/act", "joined", "/model.3/Concat", axis=1),
        node("Conv", "joined wbox", "box", "/model.4/cv2/Conv"),
        node("Conv", "joined wcls", "cls", "/model.4/cv3/Conv"),
        node("Reshape", "box to_rows", "rows"),
        node("Reshape", "rows to_bins", "bins"),
        node("Transpose", "bins", "turn", perm=[0, 2, 1, 3]),
        node("Softmax", "turn", "Softmax", axis=1),
        node("Conv", "Softmax count", "expect"),
        node("Reshape", "expect to_distances", "distances"),
        node("Reshape", "cls to_scores", "scores"),
        node("Sigmoid", "scores", "Sigmoid"),
        node("Concat", "distances Sigmoid", "output", axis=1),
    ]
    constants = {
        "w0": kernel(8, 3, 3),
        "b0": np.zeros(8, "f4"),
        "w1": kernel(8, 8, 3),
        "b1": np.zeros(8, "f4"),
        "w2": kernel(8, 8, 3),
        "wbox": kernel(16, 16, 1),
        "wcls": kernel(2, 16, 1),
        "count": np.arange(4, dtype="f4").reshape(1, 4, 1, 1),
        "to_rows": np.array([0, 16, -1]),
        "to_bins": np.array([0, 4, 4, -1]),
        "to_distances": np.array([0, 4, -1]),
        "to_scores": np.array([0, 2, -1]),
    }
    return build(nodes, constants, {"images": list(shape)}, ["output"], opset)


def run(model: ModelProto, inputs: np.ndarray) -> list[np.ndarray]:
    """Return every output of a model on one input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {model.graph.input[0].name: inputs})
