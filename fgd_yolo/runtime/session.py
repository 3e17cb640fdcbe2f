"""Open an ONNX file on the requested device, or report why that is not possible."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fgd_yolo.errors import FGDError, UsageError, close_match, one_line
from fgd_yolo.runtime.onnx_session import OnnxSession, TensorSpec, has_provider, open_onnx_session
from fgd_yolo.runtime.openvino_session import OpenVinoSession
from fgd_yolo.runtime.threads import available_cores
from fgd_yolo.text import printable

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino")  # the default first
MODES = ("latency", "throughput")
_MAX_THREADS = 1024


class Session(Protocol):
    """A file that is open on a device.

    Attributes:
        device: name of the device for messages.
        metadata: the file's key-value pairs.
        inputs: the file's inputs.
        outputs: the file's outputs.
        workers: number of concurrent calls of `run` that use the device fully.
    """

    device: str
    metadata: Mapping[str, str]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    workers: int

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return every output for a batch, in the file's order. May be called from several threads."""
        ...


def open_session(path: str | Path, device: str = "auto", threads: int | None = None, mode: str = "latency") -> Session:
    """Open an ONNX file and print the device it runs on to stderr.

    Args:
        path: the file.
        device: `cpu`, `cuda`, `cuda:N`, `tensorrt` or `openvino`, without fallback; or `auto`: CUDA if it opens,
            else the CPU. `auto` never chooses TensorRT, which takes minutes to build its engine.
        threads: CPU threads; None means the cores that this process may use.
        mode: `latency` uses all threads in each call of `run`; `throughput` uses one, for several concurrent calls.

    Raises:
        UsageError: an unknown device or mode, or an invalid number of threads.
        FGDError: the file cannot be opened on this device.
    """
    path = Path(path)
    kind, index = _parse_device(device)
    if mode not in MODES:
        raise UsageError(f"unknown mode '{mode}'{close_match(str(mode), MODES)}; available: {', '.join(MODES)}")
    threads = _check_threads(threads)
    check_file(path)
    if kind == "openvino":
        session: Session = OpenVinoSession(path, threads, mode)
    elif kind == "auto":
        session = _open_best(path, threads, mode)
    else:
        session = open_onnx_session(path, kind, index, threads, mode)
    print(f"{printable(path.name)} runs on {printable(session.device)}", file=sys.stderr, flush=True)
    return session


def check_file(path: Path) -> None:
    """Raise FGDError unless the path is a file that can be read."""
    if path.is_dir():
        raise FGDError(f"{path} is a folder: pass the .onnx file in it")
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise FGDError(f"{path} does not exist: pass the .onnx file that the export wrote") from None
    except (OSError, ValueError) as error:
        raise FGDError(f"{path} cannot be read: {one_line(error)}") from None
    if path.suffix.lower() in {".pt", ".pth"}:
        raise FGDError(f"{path} is a PyTorch checkpoint: export it to ONNX first, with fgd-yolo export")


def _parse_device(device: Any) -> tuple[str, int]:
    name, colon, index = str(device).strip().lower().partition(":")
    if name not in DEVICES or (colon and (name != "cuda" or not index.isdecimal())):
        available = f"{', '.join(DEVICES)} and cuda:N"
        raise UsageError(f"unknown device '{device}'{close_match(name, DEVICES)}; available: {available}")
    return name, int(index or 0)


def _check_threads(threads: Any) -> int:
    if threads is None:
        return available_cores()
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 1 <= threads <= _MAX_THREADS:
        raise UsageError(f"threads must be an integer from 1 to {_MAX_THREADS}, got {threads!r}")
    return int(threads)


def _open_best(path: Path, threads: int, mode: str) -> OnnxSession:
    """Open on CUDA if that works, else on the CPU; the name of the device then has the reason."""
    if not has_provider("cuda"):
        return open_onnx_session(path, "cpu", 0, threads, mode)
    try:
        return open_onnx_session(path, "cuda", 0, threads, mode)
    except FGDError as error:
        session = open_onnx_session(path, "cpu", 0, threads, mode)  # raises if the file itself is at fault
        session.device += f"; not on cuda: {one_line(error)}"
        return session
