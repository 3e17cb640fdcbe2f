"""Speed of the stream pipeline, compared with the limit of the machine and with Ultralytics' own stream prediction.

The limit is measured in the same run: the requested number of bare threads, each with its own decoder, loop decoding,
letterbox, network and NMS on the same file and discard their results. They share one session, whose weights then stay
in the cache: with one session each they are slower than the pipeline.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.timing import rate, ratio
from fgd_yolo.ultralytics import quiet_ultralytics
from tests.cameras.processes import camera

WARM_UP_FRAMES = 20
CAMERA_FPS = 15


@dataclass(frozen=True)
class Rates:
    """Frames per second of one file; None where unknown."""

    bare_threads: float | None
    pipeline: float | None
    ultralytics: float | None


@dataclass(frozen=True)
class CpuTimes:
    """Milliseconds of CPU time per frame of one camera; None where unknown."""

    pipeline: float | None
    ultralytics: float | None


def measure_rates(model: Path, clip: Path, threads: int, rounds: int) -> Rates:
    """Return the best rates of several rounds in which the three variants take turns.

    Args:
        model: an ONNX file of a fixed size with a float input.
        clip: a video file.
        threads: number of bare threads, and threads of the pipeline.
        rounds: runs of each variant.
    """
    variants: dict[str, Callable[[], float | None]] = {
        "bare_threads": lambda: bare_threads_fps(model, clip, threads),
        "pipeline": lambda: pipeline_fps(model, clip, threads),
        "ultralytics": lambda: ultralytics_fps(model, clip),
    }
    rates = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            rates[name].append(measure())
    known = {name: [fps for fps in values if fps is not None] for name, values in rates.items()}
    return Rates(**{name: max(values, default=None) for name, values in known.items()})


def bare_threads_fps(model: Path, clip: Path, threads: int) -> float | None:
    """Return the frames per second of bare threads, which share no work and no lock."""
    with redirect_stderr(StringIO()):
        detector = OnnxDetector(model, "cpu", threads, mode="throughput")
    barrier = threading.Barrier(threads + 1)
    counts = [0] * threads
    workers = [
        threading.Thread(target=_process_clip, args=(detector, clip, barrier, counts, i)) for i in range(threads)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return rate(sum(counts), time.perf_counter() - start)


def _process_clip(detector: OnnxDetector, clip: Path, barrier: threading.Barrier, counts: list[int], i: int) -> None:
    import av

    from fgd_yolo.streams.frame import Frame

    tensor, placement = detector.preprocess(np.zeros((480, 640, 3), np.uint8))
    detector.postprocess(detector.infer(tensor), [placement])
    barrier.wait()
    with av.open(str(clip)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for decoded in container.decode(video=0):
            image = Frame("clip", 0, decoded, 0.0, 0.0).image()
            _, placement = detector.preprocess(image, out=tensor)
            detector.postprocess(detector.infer(tensor), [placement])
            counts[i] += 1


def pipeline_fps(model: Path, clip: Path, threads: int) -> float | None:
    """Return the mean frames per second of the pipeline on one file, from the first result to the last."""
    from fgd_yolo.streams.pipeline import Pipeline

    with redirect_stderr(StringIO()):
        detector = OnnxDetector(model, "cpu", threads, mode="throughput" if threads > 1 else "latency")
        pipeline = Pipeline(detector)
        pipeline.add(str(clip), "clip")
        with pipeline:
            pipeline.wait()
            return pipeline.stats()["streams"]["clip"]["mean_fps"]


def ultralytics_fps(model: Path, clip: Path) -> float | None:
    """Return the frames per second of Ultralytics' stream prediction on the same file, after a warm-up."""
    results = _ultralytics_results(model, str(clip))
    with quiet_ultralytics(logging.ERROR):
        for _ in range(WARM_UP_FRAMES):
            next(results)
        start = time.perf_counter()
        return rate(sum(1 for _ in results), time.perf_counter() - start)


@safe_loading()
def _ultralytics_results(model: Path, source: str) -> Iterator[object]:
    """Return an iterator over Ultralytics' results for a file or camera."""
    from ultralytics import YOLO

    with quiet_ultralytics(logging.ERROR):
        return YOLO(str(model), task="detect").predict(source, stream=True, verbose=False, device="cpu")


def measure_cpu_ms(model: Path, images: Sequence[np.ndarray], seconds: float) -> CpuTimes:
    """Return the CPU time per frame of one camera of 15 frames per second, in the pipeline and in Ultralytics.

    Both read the same MJPEG camera, one after the other, each in a fresh process.

    Args:
        model: an ONNX file of a fixed size with a float input.
        images: the frames of the camera, (H, W, 3) BGR.
        seconds: duration of each measurement.
    """
    with camera("MJPEG", images, CAMERA_FPS) as address:
        pipeline = _in_fresh_process(_pipeline_cpu_ms, model, address, seconds)
        return CpuTimes(pipeline, _in_fresh_process(_ultralytics_cpu_ms, model, address, seconds))


def _in_fresh_process(measure: Callable[..., float | None], *arguments: object) -> float | None:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def _pipeline_cpu_ms(model: Path, address: str, seconds: float) -> float | None:
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


def _ultralytics_cpu_ms(model: Path, address: str, seconds: float) -> float | None:
    results = _ultralytics_results(model, address)
    with quiet_ultralytics(logging.ERROR):
        for _ in range(2 * CAMERA_FPS):
            next(results)
        start, end = time.process_time(), time.monotonic() + seconds
        frames = 0
        while time.monotonic() < end:
            next(results)
            frames += 1
        return ratio(1e3 * (time.process_time() - start), frames)
