"""The stream pipeline on paced cameras: the CPU that one takes, and what is left of many when they are too many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np

from fgd_yolo.analysis.stream_benchmark import host_results
from fgd_yolo.host import quiet_host
from fgd_yolo.runtime import OnnxDetector

PACE_FPS = 15
MANY_FPS = 30
WARM_UP_S = 3.0


@dataclass(frozen=True)
class Overload:
    """Many cameras on one detector.

    Args:
        cameras: how many.
        load: frames that came for each that was inferred.
        least_share: the least inferred frames of a camera over a fair share, 1 where all got the same.
        p50_ms: median age of a result when the sinks were done with it, since the frame arrived.
        p95_ms: likewise, of 19 in 20.
        allowed_ms: one inference, two frame periods and all other stages of a frame.
    """

    cameras: int
    load: float
    least_share: float
    p50_ms: float
    p95_ms: float
    allowed_ms: float


def measure_overload(model: Path, pictures: list[np.ndarray], cameras: int, threads: int, seconds: float) -> Overload:
    """Return what becomes of MJPEG cameras of 30 frames per second, in latency mode.

    Args:
        model: an ONNX file.
        pictures: what the cameras show, (480, 640, 3) BGR.
        cameras: how many; enough that they are too many.
        threads: of the detector.
        seconds: to measure, after a warm-up.
    """
    from fgd_yolo.streams.pipeline import Pipeline

    with camera(pictures, MANY_FPS) as address, redirect_stderr(StringIO()):
        pipeline = Pipeline(OnnxDetector(model, "cpu", threads), observers=[lambda result: None])
        for number in range(cameras):
            pipeline.add(address, f"camera{number}")
        with pipeline:
            time.sleep(WARM_UP_S)
            before = pipeline.stats()["streams"]
            time.sleep(seconds)
            after = pipeline.stats()["streams"]
    seen, inferred = ([after[name][key] - before[name][key] for name in after] for key in ("seen", "inferred"))
    ages = [one["ages"] for one in after.values()]
    run_ms, rest_ms = np.mean([_stages_ms(one["ages"]) for one in after.values()], axis=0)
    return Overload(
        cameras,
        sum(seen) / sum(inferred),
        min(inferred) / np.mean(inferred),
        max(age["sink_done"]["p50_ms"] for age in ages),
        max(age["sink_done"]["p95_ms"] for age in ages),
        run_ms + 2e3 / MANY_FPS + rest_ms,
    )


def _stages_ms(ages: dict[str, dict[str, float]]) -> tuple[float, float]:
    """Return the median time of one run of the network, and of decoding, postprocessing and the sinks together."""
    median = {stage: found["p50_ms"] for stage, found in ages.items()}
    after = median["sink_done"] - median["infer_end"]
    return median["infer_end"] - median["infer_start"], median["decoded"] + after


def paced_cpu_ms(model: Path, pictures: list[np.ndarray], seconds: float) -> dict[str, float]:
    """Return the milliseconds of CPU per frame of a paced camera, of the pipeline and of Ultralytics.

    Each runs in a fresh process on the same MJPEG camera of 15 frames per second, one after the other.
    """
    with camera(pictures, PACE_FPS) as address:
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
    results = host_results(model, address)
    with quiet_host(logging.ERROR):
        for _ in range(2 * PACE_FPS):
            next(results)
        start, until = time.process_time(), time.monotonic() + seconds
        frames = 0
        while time.monotonic() < until:
            next(results)
            frames += 1
        return 1e3 * (time.process_time() - start) / frames


def _in_fresh_process(measure: Callable[..., float], *arguments: object) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


@contextmanager
def camera(pictures: list[np.ndarray], fps: float) -> Iterator[str]:
    """Serve pictures as MJPEG on loopback from a process of its own, at a camera's pace; yield the address."""
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(jpegs, fps, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/camera.mjpg"
    finally:
        process.terminate()
        process.join()


def _serve(jpegs: list[bytes], fps: float, port: Connection) -> None:
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
                due += 1 / fps
                time.sleep(max(0.0, due - time.monotonic()))

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port.send(server.server_port)
    server.serve_forever()
