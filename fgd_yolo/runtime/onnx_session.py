"""Run an ONNX file in onnxruntime, on the CPU or a GPU."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from fgd_yolo.errors import FGDError, error_message
from fgd_yolo.text import counted

_WARNING, _ERROR, _FATAL = 2, 3, 4  # onnxruntime's log levels
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_NOT_ONNX = "is not a complete ONNX file: export or copy it again"
_TOO_NEW = "needs a newer onnxruntime than {version}: run pip install -U onnxruntime, or export with a lower opset"
_MAX_MESSAGE_LENGTH = 4000
# Fragments of onnxruntime's error messages, and what is wrong with the file.
_KNOWN_ERRORS = {
    "protobuf parsing failed": _NOT_ONNX,
    "no graph was found": _NOT_ONNX,
    "external data": "stores its weights in a second file that is missing: copy that one too, or export again",
    "opset": _TOO_NEW,
    "ir version": _TOO_NEW,
    "not a registered function/op": "has an operator that onnxruntime {version} does not support: export it again",
    "no op registered": "has an operator that onnxruntime {version} does not support: export it again",
}


class TensorSpec(NamedTuple):
    """One input or output of a file; None in the shape is a dynamic size."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


class OnnxSession:
    """A file that is open in onnxruntime."""

    def __init__(self, session: onnxruntime.InferenceSession, device: str, workers: int):
        self.device = device
        self.workers = workers
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        self.inputs = [_spec(node) for node in session.get_inputs()]
        self.outputs = [_spec(node) for node in session.get_outputs()]
        self._session = session

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return every output for a batch, in the file's order."""
        return self._session.run(None, {self.inputs[0].name: batch})


def has_provider(kind: str) -> bool:
    """Return whether the installed onnxruntime was built for `cpu`, `cuda` or `tensorrt`."""
    return _PROVIDERS[kind] in onnxruntime.get_available_providers()


def open_onnx_session(path: Path, kind: str, index: int, threads: int, mode: str) -> OnnxSession:
    """Open a file on one device, without fallback.

    Args:
        path: the file.
        kind: `cpu`, `cuda` or `tensorrt`.
        index: index of the GPU.
        threads: CPU threads.
        mode: `latency` or `throughput`.

    Raises:
        FGDError: the file cannot be opened on this device.
    """
    version = onnxruntime.__version__
    if not has_provider(kind):
        advice = "install onnxruntime-gpu in place of onnxruntime, or use --device cpu"
        raise FGDError(f"device '{kind}' is not available: this onnxruntime ({version}) was built without it; {advice}")
    options = _session_options(1 if mode == "throughput" else threads)
    workers = threads if mode == "throughput" else 1
    if kind != "cpu":
        return OnnxSession(_load_gpu(path, options, kind, index), f"{kind}:{index} (onnxruntime {version})", workers)
    session = _load(path, options, [_PROVIDERS["cpu"]], "cpu")
    return OnnxSession(session, f"cpu (onnxruntime {version}, {counted(threads, 'thread')})", workers)


def open_for_inspection(path: Path) -> OnnxSession:
    """Open a file only for its metadata and tensors, without optimising its graph or starting threads.

    Raises:
        FGDError: the file cannot be opened.
    """
    options = _session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return OnnxSession(_load(path, options, [_PROVIDERS["cpu"]], "cpu"), "cpu", 1)


def _load_gpu(path: Path, options: Any, kind: str, index: int) -> onnxruntime.InferenceSession:
    """Open on a GPU. If CUDA's libraries are missing, onnxruntime falls back to the CPU; this raises instead."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # loads the CUDA libraries that pip installed
    # TF32 keeps ten bits of a float32's fraction, so boxes would differ from the CPU's.
    providers = [(_PROVIDERS["cuda"], {"device_id": str(index), "use_tf32": "0"}), _PROVIDERS["cpu"]]
    if kind == "tensorrt":
        providers.insert(0, (_PROVIDERS["tensorrt"], {"device_id": str(index)}))
    onnxruntime.set_default_logger_severity(_FATAL)  # the error below replaces its message
    try:
        session = _load(path, options, providers, f"{kind}:{index}")
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
    if _PROVIDERS[kind] not in session.get_providers():
        missing = re.search(r"Failed to load (\S+?):", printed.getvalue())
        reason = f"{Path(missing[1]).name} is missing" if missing else "its libraries or the driver are missing"
        advice = "run pip install 'onnxruntime-gpu[cuda,cudnn]'" if kind == "cuda" else "install TensorRT"
        raise FGDError(f"device '{kind}' cannot be opened: {reason}; {advice}, or use --device cpu")
    return session


def _load(path: Path, options: Any, providers: list, device: str) -> onnxruntime.InferenceSession:
    try:
        # With its fallback onnxruntime would also move a failing run to the CPU silently.
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime raises a dozen types, none of them public
        # The message contains names from the file, of any length, and the patterns below do not match in linear time.
        text = error_message(error)[:_MAX_MESSAGE_LENGTH].replace(str(path), path.name)
        version = onnxruntime.__version__
        for fragment, meaning in _KNOWN_ERRORS.items():
            if fragment in text.replace(path.name, "").replace("_", " ").lower():
                raise FGDError(f"{path} {meaning.format(version=version)}") from error
        # Keep the sentence behind error code, file name and C++ signature.
        detail = re.sub(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )?(Load model from .*? failed: ?)?", "", text)
        detail = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=[A-Z])", "", detail)[:200].rstrip(". ")
        advice = "" if device == "cpu" else "; fix that, or use --device cpu"
        raise FGDError(f"onnxruntime {version} cannot open {path} on {device}: {detail}{advice}") from error


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERROR
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads triple the CPU time of a paced stream.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    name = node.type.removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(name, name)
    return TensorSpec(node.name, shape, np.dtype(name if name in np.sctypeDict else object))
