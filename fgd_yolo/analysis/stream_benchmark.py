"""How close the stream pipeline comes to what the machine can do, and to Ultralytics' own stream prediction.

The bound is measured in the same run: as many bare threads as asked for, each with a decoder of its own, that loop
decode, letterbox, network, NMS on the same file and hand their results to nobody. They share one session, whose weights
then stay in the cache: with one each they are slower than the pipeline.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.host import quiet_host
from fgd_yolo.runtime import OnnxDetector

WARM_UP_FRAMES = 20
PACE_FPS = 15


@dataclass(frozen=True)
class Rates:
    """Frames per second of one file: bare threads, the pipeline, and Ultralytics' stream prediction."""

    bound: float
    pipeline: float
    host: float


def write_clip(path: Path, pictures: list[np.ndarray], fps: int = 25) -> Path:
    """Write pictures (480, 640, 3) BGR as H.264, as a camera would send them."""
    import av

    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "tune": "zerolatency"})
        track.height, track.width = pictures[0].shape[:2]
        track.pix_fmt = "yuv420p"
        for picture in pictures:
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
    ways: dict[str, Callable[[], float]] = {
        "bound": lambda: bound_fps(model, clip, threads),
        "pipeline": lambda: pipeline_fps(model, clip, threads),
        "host": lambda: host_fps(model, clip),
    }
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return Rates(**{name: max(rates) for name, rates in found.items()})


def bound_fps(model: Path, clip: Path, threads: int) -> float:
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
    return sum(counts) / (time.perf_counter() - start)


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


def pipeline_fps(model: Path, clip: Path, threads: int) -> float:
    """Return the mean frames per second of the pipeline on one file, from its first to its last result."""
    from fgd_yolo.streams.pipeline import Pipeline

    with redirect_stderr(StringIO()):
        detector = OnnxDetector(model, "cpu", threads, mode="throughput" if threads > 1 else "latency")
        pipeline = Pipeline(detector)
        pipeline.add(str(clip), "clip")
        with pipeline:
            pipeline.wait()
            return pipeline.stats()["streams"]["clip"]["mean_fps"]


def host_fps(model: Path, clip: Path) -> float:
    """Return the frames per second of Ultralytics' stream prediction on the same file, after a warm-up."""
    results = _host_results(model, str(clip))
    with quiet_host(logging.ERROR):
        for _ in range(WARM_UP_FRAMES):
            next(results)
        start = time.perf_counter()
        return sum(1 for _ in results) / (time.perf_counter() - start)


def paced_cpu_ms(model: Path, pictures: list[np.ndarray], seconds: float) -> dict[str, float]:
    """Return the milliseconds of CPU per frame of a paced camera, of the pipeline and of Ultralytics.

    Each runs in a fresh process on the same MJPEG camera of 15 frames per second, one after the other.
    """
    with _camera(pictures) as address:
        ways = {"pipeline": _own_cpu_ms, "host": _host_cpu_ms}
        return {name: _in_fresh_process(way, model, address, seconds) for name, way in ways.items()}


def _own_cpu_ms(model: Path, address: str, seconds: float) -> float:
    from fgd_yolo.streams.pipeline import Pipeline

    with redirect_stderr(StringIO()):
        pipeline = Pipeline(OnnxDetector(model, "cpu"))
        pipeline.add(address, "camera")
        with pipeline:
            time.sleep(2)
            before, start = pipeline.stats()["streams"]["camera"]["inferred"], time.process_time()
            time.sleep(seconds)
            cpu_s = time.process_time() - start
            return 1e3 * cpu_s / (pipeline.stats()["streams"]["camera"]["inferred"] - before)


def _host_cpu_ms(model: Path, address: str, seconds: float) -> float:
    results = _host_results(model, address)
    with quiet_host(logging.ERROR):
        for _ in range(2 * PACE_FPS):
            next(results)
        start, until = time.process_time(), time.monotonic() + seconds
        frames = 0
        while time.monotonic() < until:
            next(results)
            frames += 1
        return 1e3 * (time.process_time() - start) / frames


def _host_results(model: Path, source: str) -> Iterator[object]:
    from ultralytics import YOLO

    with quiet_host(logging.ERROR):
        return YOLO(str(model), task="detect").predict(source, stream=True, verbose=False, device="cpu")


def _in_fresh_process(measure: Callable[..., float], *arguments: object) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


@contextmanager
def _camera(pictures: list[np.ndarray]) -> Iterator[str]:
    """Serve pictures as MJPEG on loopback, at a camera's pace, and yield the address."""
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            due = time.monotonic()
            for jpeg in cycle(jpegs):
                head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    return
                due += 1 / PACE_FPS
                time.sleep(max(0.0, due - time.monotonic()))

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/camera.mjpg"
    finally:
        server.shutdown()
        server.server_close()
