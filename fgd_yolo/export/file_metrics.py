"""Measure exported files: their mAP by Ultralytics' validator, and their speed on this machine's CPU."""

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
from fgd_yolo.export.cpu_session import open_cpu_session
from fgd_yolo.preprocessing import FLOAT_INPUT, UINT8_INPUT
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import TASKS, Accuracy, accuracy
from fgd_yolo.timing import best_times
from fgd_yolo.ultralytics import quiet_ultralytics, validate

_NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@safe_loading()
def measure_map(path: Path, data: str | Path, imgsz: int | tuple[int, int], task: str = "detect") -> Accuracy:
    """Return the accuracy of an ONNX file on the val split of a dataset, on the CPU.

    Args:
        path: a file with Ultralytics' metadata and a float input.
        data: dataset YAML.
        imgsz: height and width, or the side of a square, for a file of dynamic size, in pixels.
        task: detect, segment, pose or obb.
    Returns:
        What Ultralytics' validator of the task measures.
    Raises:
        FGDError: the split has no labels, or Ultralytics cannot validate the file on it.
    """
    arguments = {"imgsz": int(np.max(imgsz)), "device": "cpu", "batch": 1, "workers": 0}
    try:
        with tempfile.TemporaryDirectory(prefix="fgd_yolo-val-") as folder, quiet_ultralytics(logging.ERROR):
            arguments["data"] = str(read_dataset(data, recorded=True).copy_to(Path(folder)).file)
            callbacks = _progress_callbacks(f"measuring mAP of {path.name}")
            metrics = validate(path, arguments, task=task, callbacks=callbacks).metrics
    except Exception as error:  # Ultralytics raises exceptions of any type here
        raise FGDError(f"Ultralytics cannot validate {path.name} on {data}: {one_line(error)}") from error
    if not np.sum(metrics.nt_per_class):
        raise FGDError(f"the val split of {data} has no labels, so the mAP of {path.name} cannot be measured: label it")
    return accuracy(metrics, TASKS[task])


def seconds_per_run(
    paths: Sequence[Path], threads: int = 1, rounds: int = 100, imgsz: int | tuple[int, int] = 640
) -> list[float]:
    """Return the shortest time of one run of each file on the CPU, in seconds.

    Args:
        paths: files with one input.
        threads: CPU threads for each file.
        rounds: timed runs of each file.
        imgsz: height and width, or the side of a square, for a file of dynamic size, in pixels.
    """
    sessions = [open_cpu_session(path, threads) for path in paths]
    feeds = [_random_input(session, imgsz) for session in sessions]
    runs = [partial(session.run, None, feed) for session, feed in zip(sessions, feeds, strict=True)]
    return list(best_times(dict(enumerate(runs)), rounds).values())


def _random_input(session: onnxruntime.InferenceSession, imgsz: int | tuple[int, int]) -> dict[str, np.ndarray]:
    """Return noise in the format of a file's input; dynamic dimensions become 1, 3 and the size."""
    spec = session.get_inputs()[0]
    dtype = _NUMPY_TYPES[spec.type]
    height, width = np.broadcast_to(imgsz, 2).tolist()
    defaults = {"N": 1, "C": 3, "H": height, "W": width}
    layout = (UINT8_INPUT if dtype == np.uint8 else FLOAT_INPUT).layout
    shape = [size if isinstance(size, int) else defaults[axis] for size, axis in zip(spec.shape, layout, strict=True)]
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    return {spec.name: (noise * 255 if dtype == np.uint8 else noise).astype(dtype)}


def _progress_callbacks(description: str) -> dict[str, Callable[[Any], Any]]:
    """Return validator callbacks that show a progress bar of batches: Ultralytics' own is silenced with its logger."""
    bars: list[Iterator[int]] = []

    def start(validator: Any) -> None:
        bars.append(progress(range(len(validator.dataloader)), description))
        next(bars[-1])

    return {"on_val_start": start, "on_val_batch_end": lambda _: next(bars[-1], None)}
