"""The CPU that one paced camera takes, in the stream pipeline and in Ultralytics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.stream_rates import host_results
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.timing import ratio
from fgd_yolo.ultralytics import quiet_ultralytics
from tests.cameras.processes import camera

PACE_FPS = 15


def paced_cpu_ms(model: Path, pictures: Sequence[np.ndarray], seconds: float) -> dict[str, float]:
    """Return the milliseconds of CPU per frame of a paced camera, of the pipeline and of Ultralytics.

    Each runs in a fresh process on the same MJPEG camera of 15 frames per second, one after the other.
    """
    with camera("MJPEG", pictures, PACE_FPS) as address:
        ways = {"pipeline": _own_cpu_ms, "host": _host_cpu_ms}
        return {name: _in_fresh_process(way, model, address, seconds) for name, way in ways.items()}


def _own_cpu_ms(model: Path, address: str, seconds: float) -> float | None:
    from fgd_yolo.streams.pipeline import Pipeline

    with redirect_stderr(StringIO()):
        pipeline = Pipeline(OnnxDetector(model, "cpu"))
        pipeline.add(address, "camera")
        with pipeline:
            time.sleep(2)
            before, start = pipeline.stats()["streams"]["camera"]["inferred"], time.process_time()
            time.sleep(seconds)
            cpu_s = time.process_time() - start
            return ratio(1e3 * cpu_s, pipeline.stats()["streams"]["camera"]["inferred"] - before)


def _host_cpu_ms(model: Path, address: str, seconds: float) -> float | None:
    results = host_results(model, address)
    with quiet_ultralytics(logging.ERROR):
        for _ in range(2 * PACE_FPS):
            next(results)
        start, until = time.process_time(), time.monotonic() + seconds
        frames = 0
        while time.monotonic() < until:
            next(results)
            frames += 1
        return ratio(1e3 * (time.process_time() - start), frames)


def _in_fresh_process(measure: Callable[..., float], *arguments: object) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)
