"""Which layers of a detector suffer most from int8."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto

from fgd_yolo.console import progress
from fgd_yolo.export.calibration import Ranges
from fgd_yolo.export.quantize import layers, quantize

_ERROR = 3  # onnxruntime's log level


def rank_layers(
    model: ModelProto, ranges: Ranges, float_nodes: Collection[str], batches: Sequence[np.ndarray]
) -> list[list[str]]:
    """Return the nodes of each layer that may be int8, the most sensitive layer first.

    Each layer in turn is the only one in int8; what that does to the outputs is its damage. The other way
    round, one layer in float32 among int8, says nothing: a bad tensor between two layers stays int8 until both
    are float32 (with one planted in a YOLOv8n, no layer moved the error by more than 2 %, while alone in int8 the
    two came first).

    Convention:
        Damage is the squared error over the squared output, per output tensor, summed. The outputs wanted
        here are the logits: behind the decode tail, pixels would drown probabilities.
    Args:
        model: without its decode tail.
        ranges: smallest and largest value of each tensor.
        float_nodes: nodes that stay in float32 anyway.
        batches: inputs, few: every layer is tried on all of them.
    """
    names = [node.name for node in model.graph.node]
    groups = list(layers(name for name in names if name not in float_nodes).values())
    wanted = _outputs(model, batches)
    damages = []
    for group in progress(groups, "trying layers in int8"):
        alone = quantize(model, ranges, set(names).difference(group))
        damages.append(sum(map(_relative_error, _outputs(alone, batches), wanted)))
    return [groups[index] for index in np.argsort(damages, kind="stable")[::-1]]


def _outputs(model: ModelProto, batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return every output of a model on every batch."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERROR
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = model.graph.input[0].name
    return [output for batch in batches for output in session.run(None, {name: batch})]


def _relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    power = float(np.square(wanted, dtype=np.float64).sum())
    return float(np.square(found - wanted, dtype=np.float64).sum()) / power if power else 0.0
