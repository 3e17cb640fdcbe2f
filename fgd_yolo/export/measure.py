"""What a file is worth: its mAP by the host's validator, and its speed beside other files."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from fgd_yolo.console import progress
from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.timing import best_times
from fgd_yolo.ultralytics import quiet_ultralytics, validate

_ERROR = 3  # onnxruntime's log level
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@safe_loading()
def map_of(path: Path, data: str | Path, imgsz: int | tuple[int, int], task: str = "detect") -> dict[str, float]:
    """Return the mAPs of an ONNX file on the data's val split, on the CPU, by the host's own validator.

    Args:
        path: a file with the host's metadata and a float input.
        data: dataset YAML.
        imgsz: height and width, or the side of a square, of a file with a dynamic size, in pixels.
        task: detect, segment, pose or obb.
    Returns:
        `map50_95` and `map50` of the boxes, in [0, 1]; of masks and keypoints too, as `mask_map50_95`,
        `pose_map50_95` and so on, where the task has them.
    Raises:
        FGDError: the split has no labels, or the host cannot validate this file on it.
    """
    parts = {"B": "", "M": "mask_", "P": "pose_"}
    arguments = {"imgsz": int(np.max(imgsz)), "device": "cpu", "batch": 1, "workers": 0}
    try:
        with tempfile.TemporaryDirectory(prefix="fgd_yolo-val-") as folder, quiet_ultralytics(logging.ERROR):
            arguments["data"] = str(read_dataset(data, recorded=True).copy_to(Path(folder)).file)
            callbacks = _progress_callbacks(f"measuring mAP of {path.name}")
            metrics = validate(path, arguments, task=task, callbacks=callbacks).metrics
    except Exception as error:  # Ultralytics raises anything here
        raise FGDError(f"Ultralytics cannot validate {path.name} on {data}: {one_line(error)}") from error
    if not np.sum(metrics.nt_per_class):
        raise FGDError(f"the val split of {data} has no labels, so the mAP of int8 cannot be measured: label it")
    return {
        f"{parts[key[-2]]}{name}": float(value)
        for key, value in metrics.results_dict.items()
        for name in [key[len("metrics/") : -3].lower().replace("-", "_")]
        if name in ("map50_95", "map50")
    }


def seconds_per_run(
    paths: Sequence[Path], threads: int = 1, rounds: int = 100, imgsz: int | tuple[int, int] = 640
) -> list[float]:
    """Return the shortest time of one run of each file on the CPU, in seconds.

    Args:
        paths: files with one input.
        threads: for each; they sleep rather than spin between runs.
        rounds: runs of each file that count.
        imgsz: height and width, or the side of a square, where a file leaves its size open, in pixels.
    """
    sessions = [bare_session(path, threads) for path in paths]
    feeds = [_noise(session, imgsz) for session in sessions]
    runs = [partial(session.run, None, feed) for session, feed in zip(sessions, feeds, strict=True)]
    return list(best_times(dict(enumerate(runs)), rounds).values())


def bare_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a file in onnxruntime on the CPU, with nothing of this package around it.

    Args:
        path: the file.
        threads: of the CPU; they sleep rather than spin between runs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _noise(session: onnxruntime.InferenceSession, imgsz: int | tuple[int, int]) -> dict[str, np.ndarray]:
    """Return a random input of the kind that the file wants; dimensions it leaves open become 1, 3 and the size."""
    wanted = session.get_inputs()[0]
    dtype = _TYPES[wanted.type]
    height, width = np.broadcast_to(imgsz, 2).tolist()
    usual = (1, height, width, 3) if dtype == np.uint8 else (1, 3, height, width)
    shape = [size if isinstance(size, int) else other for size, other in zip(wanted.shape, usual, strict=True)]
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    return {wanted.name: (noise * 255 if dtype == np.uint8 else noise).astype(dtype)}


def _progress_callbacks(what: str) -> dict[str, Callable[[Any], Any]]:
    """Return callbacks that count the validator's batches: its own bar is silenced together with its log."""
    bars: list[Iterator[int]] = []

    def start(validator: Any) -> None:
        bars.append(progress(range(len(validator.dataloader)), what))
        next(bars[-1])

    return {"on_val_start": start, "on_val_batch_end": lambda _: next(bars[-1], None)}
