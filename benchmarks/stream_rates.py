"""How close the stream pipeline comes to what the machine can do, and to Ultralytics' own stream prediction.

The bound is measured in the same run: as many bare threads as asked for, each with a decoder of its own, that loop
decode, letterbox, network, NMS on the same file and hand their results to nobody. They share one session, whose weights
then stay in the cache: with one each they are slower than the pipeline.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.timing import rate
from fgd_yolo.ultralytics import quiet_ultralytics

WARM_UP_FRAMES = 20


@dataclass(frozen=True)
class Rates:
    """Frames per second of one file: bare threads, the pipeline, and Ultralytics' own; None where it is unknown."""

    bound: float | None
    pipeline: float | None
    host: float | None


def read_clip(path: Path) -> Iterator[np.ndarray]:
    """Yield the pictures (H, W, 3) BGR of a video file."""
    capture = cv2.VideoCapture(str(path))
    try:
        while (read := capture.read())[0]:
            yield read[1]
    finally:
        capture.release()


def write_clip(path: Path, pictures: Iterable[np.ndarray], fps: int = 25) -> Path:
    """Write pictures (H, W, 3) BGR of one size as H.264, as a camera would send them."""
    import av

    pictures = iter(pictures)
    first = next(pictures)
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "tune": "zerolatency"})
        track.height, track.width = first.shape[:2]
        track.pix_fmt = "yuv420p"
        for picture in chain([first], pictures):
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(track.encode())
    return path


def measure_rates(model: Path, clip: Path, threads: int, rounds: int) -> Rates:
    """Return the best of some rounds, in which the three take turns.

    Args:
        model: an ONNX file of a fixed size with a float input.
        clip: a video file.
        threads: of each of the three.
        rounds: turns of each.
    """
    ways: dict[str, Callable[[], float | None]] = {
        "bound": lambda: bound_fps(model, clip, threads),
        "pipeline": lambda: pipeline_fps(model, clip, threads),
        "host": lambda: host_fps(model, clip),
    }
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    known = {name: [one for one in rates if one is not None] for name, rates in found.items()}
    return Rates(**{name: max(rates, default=None) for name, rates in known.items()})


def bound_fps(model: Path, clip: Path, threads: int) -> float | None:
    """Return the frames per second of bare threads that share no work and no lock."""
    with redirect_stderr(StringIO()):
        detector = OnnxDetector(model, "cpu", threads, mode="throughput")
    started = threading.Barrier(threads + 1)
    counts = [0] * threads
    workers = [threading.Thread(target=_loop, args=(detector, clip, started, counts, i)) for i in range(threads)]
    for worker in workers:
        worker.start()
    started.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return rate(sum(counts), time.perf_counter() - start)


def _loop(detector: OnnxDetector, clip: Path, started: threading.Barrier, counts: list[int], index: int) -> None:
    import av

    from fgd_yolo.streams.frame import Frame

    tensor, placement = detector.preprocess(np.zeros((480, 640, 3), np.uint8))
    detector.postprocess(detector.infer(tensor), [placement])
    started.wait()
    with av.open(str(clip)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for picture in container.decode(video=0):
            image = Frame("clip", 0, picture, 0.0, 0.0).image()
            _, placement = detector.preprocess(image, out=tensor)
            detector.postprocess(detector.infer(tensor), [placement])
            counts[index] += 1


def pipeline_fps(model: Path, clip: Path, threads: int) -> float | None:
    """Return the mean frames per second of the pipeline on one file, from its first to its last result."""
    from fgd_yolo.streams.pipeline import Pipeline

    with redirect_stderr(StringIO()):
        detector = OnnxDetector(model, "cpu", threads, mode="throughput" if threads > 1 else "latency")
        pipeline = Pipeline(detector)
        pipeline.add(str(clip), "clip")
        with pipeline:
            pipeline.wait()
            return pipeline.stats()["streams"]["clip"]["mean_fps"]


def host_fps(model: Path, clip: Path) -> float | None:
    """Return the frames per second of Ultralytics' stream prediction on the same file, after a warm-up."""
    results = host_results(model, str(clip))
    with quiet_ultralytics(logging.ERROR):
        for _ in range(WARM_UP_FRAMES):
            next(results)
        start = time.perf_counter()
        return rate(sum(1 for _ in results), time.perf_counter() - start)


@safe_loading()
def host_results(model: Path, source: str) -> Iterator[object]:
    """Return the host's results of a file or camera, one after the other."""
    from ultralytics import YOLO

    with quiet_ultralytics(logging.ERROR):
        return YOLO(str(model), task="detect").predict(source, stream=True, verbose=False, device="cpu")
