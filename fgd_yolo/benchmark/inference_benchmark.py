"""How long a detector takes per photo: precisions and runtimes against each other, and what surrounds the network.

Every figure of one table comes from one process, where the variants take turns and the smallest time counts. The
seconds belong to the machine; the ratios are what can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.export.measure import bare_session
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.runtime.session import Session, open_session
from fgd_yolo.timing import best_times, ratio

PHOTO_PX = (480, 640)


@dataclass(frozen=True)
class Stages:
    """Seconds that one photo takes in a detector, and in the steps that it consists of."""

    bare_run: float
    preprocess: float
    postprocess: float
    whole_call: float

    @property
    def surroundings(self) -> float | None:
        """What pre- and postprocessing take, as a fraction of the network's time."""
        return ratio(self.preprocess + self.postprocess, self.bare_run)

    @property
    def overhead(self) -> float | None:
        """The whole call over the sum of its steps: 1 where nothing is lost between them."""
        return ratio(self.whole_call, self.bare_run + self.preprocess + self.postprocess)


def measure_runs(files: Mapping[str, Path], threads: int, rounds: int) -> dict[str, float]:
    """Return the seconds that one run of each file's network takes.

    Args:
        files: by name; each is run by onnxruntime and, where OpenVINO is installed, fp32 and int8 by that too.
        threads: of the CPU.
        rounds: timed runs of each.
    """
    sessions = {name: _open(path, "cpu", threads) for name, path in files.items()}
    if find_spec("openvino"):
        sessions |= {f"{name}, OpenVINO": _open(files[name], "openvino", threads) for name in ("fp32", "int8")}
    (batch,) = {session.inputs[0].shape for session in sessions.values()}
    image = np.random.default_rng(0).random(batch, dtype=np.float32)
    return best_times({name: lambda run=session.run: run(image) for name, session in sessions.items()}, rounds)


def measure_stages(file: Path, photo: np.ndarray, threads: int, rounds: int) -> Stages:
    """Return the seconds of a detector's whole call beside those of its steps.

    Args:
        file: a file of a fixed size for one image.
        photo: (H, W, 3) BGR.
        threads: of the CPU.
        rounds: timed runs of each step.
    """
    with redirect_stderr(StringIO()):
        detector = OnnxDetector(file, "cpu", threads)
    bare = bare_session(file, threads)
    name = bare.get_inputs()[0].name
    tensor, placement = detector.preprocess(photo)
    outputs = detector.infer(tensor)
    steps = {
        "bare_run": lambda: bare.run(None, {name: tensor}),
        "preprocess": lambda: detector.preprocess(photo),
        "postprocess": lambda: detector.postprocess(outputs, [placement]),
        "whole_call": lambda: detector(photo),
    }
    return Stages(**best_times(steps, rounds))


def benchmark_photo(data: str) -> np.ndarray:
    """Return a val photo of the data in the size of a camera's frame, (480, 640, 3) BGR."""
    from fgd_yolo.export.sample_images import load_photos

    photos, _ = load_photos(data=data, recorded=None, files=None)
    return cv2.resize(photos[0], PHOTO_PX[::-1])


def _open(path: Path, device: str, threads: int) -> Session:
    with redirect_stderr(StringIO()):  # a dozen sessions would each say what they run on
        return open_session(path, device, threads)
