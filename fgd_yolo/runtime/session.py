"""Open an ONNX file on the device that was asked for, or say why that is not possible."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime

from fgd_yolo.errors import FGDError, UsageError, close_match, one_line, whole_line
from fgd_yolo.runtime.threads import available_cores
from fgd_yolo.text import printable

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino")
MODES = ("latency", "throughput")
_MAX_THREADS = 1024
_WARNING, _ERROR, _FATAL = 2, 3, 4  # onnxruntime's log levels
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_NO_ONNX = "is no ONNX file, or only a part of one: export or copy it again"
_TOO_NEW = "needs a newer onnxruntime than {version}: run pip install -U onnxruntime, or export with a lower opset"
# What onnxruntime's message holds when a file cannot be opened, and what that means to the person who has the file.
_LONGEST_TEXT = 4000
_TROUBLES = {
    "protobuf parsing failed": _NO_ONNX,
    "no graph was found": _NO_ONNX,
    "external data": "keeps its weights in a second file that is not beside it: copy that one too, or export again",
    "opset": _TOO_NEW,
    "ir version": _TOO_NEW,
    "not a registered function/op": "has an operation that onnxruntime {version} does not know: export it again",
    "no op registered": "has an operation that onnxruntime {version} does not know: export it again",
}


class TensorSpec(NamedTuple):
    """One input or output of a file; None in the shape is a size that the file leaves open."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


class Session(Protocol):
    """A file that is open on a device.

    `device` is for people; `workers` is how many calls of `run` may usefully be made at the same time. `run` takes the
    batch as the file wants it, returns every output in the file's order, and may be called from several threads.
    """

    device: str
    metadata: Mapping[str, str]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    workers: int

    def run(self, batch: np.ndarray) -> list[np.ndarray]: ...


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


def open_session(path: str | Path, device: str = "auto", threads: int | None = None, mode: str = "latency") -> Session:
    """Open an ONNX file and print on stderr what it runs on.

    Args:
        path: the file.
        device: `auto` takes CUDA where it really opens and the CPU otherwise. `cpu`, `cuda`, `cuda:N`, `tensorrt` and
            `openvino` are taken at their word. `auto` never takes TensorRT, which builds its engine for minutes.
        threads: CPU threads; None takes the cores that this process may use.
        mode: `latency` gives every thread to each call of `run`; `throughput` gives it one, for several calls at once.

    Raises:
        UsageError: an unknown device or mode, or an impossible number of threads.
        FGDError: the file cannot be opened, or not on this device.
    """
    path = Path(path)
    kind, index = _parse_device(device)
    if mode not in MODES:
        raise UsageError(f"mode '{mode}' is unknown{close_match(str(mode), MODES)}; it is one of {', '.join(MODES)}")
    threads = _check_threads(threads)
    check_file(path)
    if kind == "openvino":
        from fgd_yolo.runtime.openvino_session import OpenVinoSession

        session: Session = OpenVinoSession(path, threads, mode)
    elif kind == "auto":
        session = _open_best(path, threads, mode)
    else:
        session = _open(path, kind, index, threads, mode)
    print(f"{printable(path.name)} runs on {printable(session.device)}", file=sys.stderr, flush=True)
    return session


def check_file(path: Path) -> None:
    """Raise FGDError unless the path is a file that can be read."""
    if path.is_dir():
        raise FGDError(f"{path} is a folder: name the .onnx file in it")
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise FGDError(f"{path} does not exist: name the .onnx file that the export wrote") from None
    except (OSError, ValueError) as error:
        raise FGDError(f"{path} cannot be read: {one_line(error)}") from None
    if path.suffix.lower() in {".pt", ".pth"}:
        raise FGDError(f"{path} is a PyTorch checkpoint: write its ONNX file first, with fgd-yolo export")


def open_unoptimised(path: Path) -> OnnxSession:
    """Open a file only for what it says of itself: its graph is not rewritten and no thread is started.

    Raises:
        FGDError: the file cannot be opened.
    """
    options = _session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return OnnxSession(_load(path, options, [_PROVIDERS["cpu"]], "cpu"), "cpu", 1)


def _parse_device(device: Any) -> tuple[str, int]:
    name, colon, index = str(device).strip().lower().partition(":")
    if name not in DEVICES or (colon and (name != "cuda" or not index.isdecimal())):
        known = f"{', '.join(DEVICES)} and cuda:N"
        raise UsageError(f"device '{device}' is unknown{close_match(name, DEVICES)}; known are {known}")
    return name, int(index or 0)


def _check_threads(threads: Any) -> int:
    if threads is None:
        return available_cores()
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 1 <= threads <= _MAX_THREADS:
        raise UsageError(f"threads must be a whole number from 1 to {_MAX_THREADS}, not {threads!r}")
    return int(threads)


def _open_best(path: Path, threads: int, mode: str) -> OnnxSession:
    if _PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        return _open(path, "cpu", 0, threads, mode)
    try:
        return _open(path, "cuda", 0, threads, mode)
    except FGDError as error:
        session = _open(path, "cpu", 0, threads, mode)  # where the file itself is at fault this raises, and says so
        session.device += f"; not on cuda: {one_line(error)}"
        return session


def _open(path: Path, kind: str, index: int, threads: int, mode: str) -> OnnxSession:
    version = onnxruntime.__version__
    if _PROVIDERS[kind] not in onnxruntime.get_available_providers():
        advice = "install onnxruntime-gpu in place of onnxruntime, or choose --device cpu"
        raise FGDError(f"device '{kind}' cannot be had: this onnxruntime ({version}) was built without it; {advice}")
    options = _session_options(1 if mode == "throughput" else threads)
    workers = threads if mode == "throughput" else 1
    if kind != "cpu":
        return OnnxSession(_load_gpu(path, options, kind, index), f"{kind}:{index} (onnxruntime {version})", workers)
    session = _load(path, options, [_PROVIDERS["cpu"]], "cpu")
    return OnnxSession(session, f"cpu (onnxruntime {version}, {threads} thread{'s' * (threads != 1)})", workers)


def _load_gpu(path: Path, options: Any, kind: str, index: int) -> onnxruntime.InferenceSession:
    """Open on a GPU. Where CUDA's libraries are missing onnxruntime goes on with the CPU; this raises instead."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    # TF32 keeps ten bits of a float32's fraction, and the boxes would differ from the CPU's.
    providers = [(_PROVIDERS["cuda"], {"device_id": str(index), "use_tf32": "0"}), _PROVIDERS["cpu"]]
    if kind == "tensorrt":
        providers.insert(0, (_PROVIDERS["tensorrt"], {"device_id": str(index)}))
    onnxruntime.set_default_logger_severity(_FATAL)  # our own line says it
    try:
        session = _load(path, options, providers, f"{kind}:{index}")
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
    if _PROVIDERS[kind] not in session.get_providers():
        missing = re.search(r"Failed to load (\S+?):", printed.getvalue())
        reason = f"{Path(missing[1]).name} is missing" if missing else "its libraries or the driver are missing"
        advice = "run pip install 'onnxruntime-gpu[cuda,cudnn]'" if kind == "cuda" else "install TensorRT"
        raise FGDError(f"device '{kind}' does not open: {reason}; {advice}, or choose --device cpu")
    return session


def _load(path: Path, options: Any, providers: list, device: str) -> onnxruntime.InferenceSession:
    try:
        # With its fallback onnxruntime would also move a failing run to the CPU, in silence.
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # it raises a dozen types of its own, none of which has a public name
        # Names from the file stand in it, of any length, and the patterns below are not linear.
        text = whole_line(error)[:_LONGEST_TEXT].replace(str(path), path.name)
        version = onnxruntime.__version__
        for sign, meaning in _TROUBLES.items():
            if sign in text.replace(path.name, "").replace("_", " ").lower():
                raise FGDError(f"{path} {meaning.format(version=version)}") from error
        # What stays is the sentence behind error code, file name and C++ signature.
        detail = re.sub(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )?(Load model from .*? failed: ?)?", "", text)
        detail = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=[A-Z])", "", detail)[:200].rstrip(". ")
        advice = "" if device == "cpu" else "; choose --device cpu, or mend that"
        raise FGDError(f"onnxruntime {version} cannot open {path} on {device}: {detail}{advice}") from error


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERROR
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take three times the CPU of a paced stream, from everything else that runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    name = node.type.removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(name, name)
    return TensorSpec(node.name, shape, np.dtype(name if name in np.sctypeDict else object))
