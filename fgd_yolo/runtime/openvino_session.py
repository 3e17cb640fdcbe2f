"""Run an ONNX file in OpenVINO, an optional dependency: pip install 'fgd_yolo[openvino]'."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo.errors import FGDError, error_message, not_installed
from fgd_yolo.runtime.onnx_session import open_for_inspection
from fgd_yolo.text import counted


class OpenVinoSession:
    """A file that is open in OpenVINO on the CPU. `run` may be called from several threads.

    Args:
        path: the ONNX file.
        threads: CPU threads, shared by all calls.
        mode: `latency` or `throughput`.

    Raises:
        FGDError: OpenVINO is not installed or cannot run the file.
    """

    def __init__(self, path: Path, threads: int, mode: str):
        try:
            import openvino
        except ImportError:
            missing = not_installed("openvino", "openvino")
            raise FGDError(f"device 'openvino' is not available: {missing}, or use --device cpu") from None
        # onnxruntime reports what is wrong with a file, and returns its metadata as text: OpenVINO does neither.
        inspected = open_for_inspection(path)
        self.metadata, self.inputs, self.outputs = inspected.metadata, inspected.inputs, inspected.outputs
        try:
            core = openvino.Core()
            # Compile in a thread that ends: OpenVINO installs an alternate signal stack in its thread. When two models
            # are freed, the second restores the first one's stack, which is gone, and the next signal crashes.
            with ThreadPoolExecutor(1) as thread:
                settings = _settings(threads, mode)
                self._model = thread.submit(core.compile_model, core.read_model(path), "CPU", settings).result()
            self.workers = self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") if mode == "throughput" else 1
        except RuntimeError as error:
            raise FGDError(f"openvino cannot open {path}: ...{error_message(error)[-150:]}") from error
        version = ".".join(openvino.__version__.split("-")[0].split(".")[:3])
        self.device = f"openvino (cpu, {version}, {counted(threads, 'thread')})"
        self._thread_request = threading.local()

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return every output for a batch, in the file's order."""
        if not hasattr(self._thread_request, "current"):
            self._thread_request.current = self._model.create_infer_request()
        # Sharing the input saves a copy. Outputs are copied, since the request's next call overwrites its buffers.
        outputs = self._thread_request.current.infer([batch], share_inputs=True, share_outputs=False)
        return [outputs[output] for output in self._model.outputs]


def _settings(threads: int, mode: str) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": mode.upper(),
        # On a CPU with bfloat16, OpenVINO silently uses it for float32 files: boxes moved by a full pixel. With
        # float32 it agrees with onnxruntime. Quantized layers stay int8 either way, but round differently.
        "INFERENCE_PRECISION_HINT": "f32",
    }
