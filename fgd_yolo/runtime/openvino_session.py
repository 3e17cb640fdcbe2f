"""Run the same ONNX file in OpenVINO, an extra: pip install 'fgd_yolo[openvino]'."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo.errors import FGDError, whole_line
from fgd_yolo.runtime.session import open_unoptimised


class OpenVinoSession:
    """A file that is open in OpenVINO on the CPU. `run` may be called from several threads.

    Args:
        path: the ONNX file.
        threads: CPU threads, of all calls together.
        mode: `latency` or `throughput`.

    Raises:
        FGDError: OpenVINO is not installed or cannot run the file.
    """

    def __init__(self, path: Path, threads: int, mode: str):
        try:
            import openvino
        except ImportError:
            advice = "run pip install 'fgd_yolo[openvino]', or choose --device cpu"
            raise FGDError(f"device 'openvino' cannot be had: openvino is not installed; {advice}") from None
        # onnxruntime names what is wrong with a file, and gives the metadata as text: OpenVINO does neither.
        described = open_unoptimised(path)
        self.metadata, self.inputs, self.outputs = described.metadata, described.inputs, described.outputs
        try:
            core = openvino.Core()
            # In a thread that ends: OpenVINO gives its thread an alternate signal stack, and of two models the one that
            # goes last puts back the other's, which is gone. The next signal would crash the process.
            with ThreadPoolExecutor(1) as thread:
                settings = _settings(threads, mode)
                self._model = thread.submit(core.compile_model, core.read_model(path), "CPU", settings).result()
            self.workers = self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") if mode == "throughput" else 1
        except RuntimeError as error:
            raise FGDError(f"openvino cannot open {path}: ...{whole_line(error)[-150:]}") from error
        version = ".".join(openvino.__version__.split("-")[0].split(".")[:3])
        self.device = f"openvino (cpu, {version}, {threads} thread{'s' * (threads != 1)})"
        self._requests = threading.local()

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return every output for a batch, in the file's order."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        # Sharing the input saves a copy. Outputs are copied, since the request's next call overwrites its own.
        found = self._requests.own.infer([batch], share_inputs=True, share_outputs=False)
        return [found[output] for output in self._model.outputs]


def _settings(threads: int, mode: str) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": mode.upper(),
        # Where the CPU has bfloat16, OpenVINO takes it for float32 files without a word: boxes moved by a whole pixel.
        # With float32 it agrees with onnxruntime. Quantized layers stay int8 all the same, but round in another way.
        "INFERENCE_PRECISION_HINT": "f32",
    }
