"""Run ONNX files in onnxruntime on the CPU, without the detector of this package."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnx import ModelProto

_ERROR = 3  # onnxruntime's log level
DEFAULT_THREADS = 0
"""onnxruntime chooses."""


def open_cpu_session(model: Path | ModelProto, threads: int = DEFAULT_THREADS) -> onnxruntime.InferenceSession:
    """Open a file or a model in memory.

    Args:
        model: path of the file, or the model itself.
        threads: CPU threads; between runs they sleep instead of spinning.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model.SerializeToString() if isinstance(model, ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
