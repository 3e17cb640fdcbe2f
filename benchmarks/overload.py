"""Latency, fairness and memory of the pipeline with twice as many frames as the detector can process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.timing import ratio
from tests.cameras.processes import camera, rtsp_works
from tests.cameras.stamp import read_stamp

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.pipeline import Pipeline

CAMERA_FPS = 30
TARGET_LOAD = 2.0
MAX_CAMERAS = 64
WARM_UP_S = 3.0
START_TIMEOUT_S = 30.0

Pair = tuple[float, float]


@dataclass(frozen=True)
class Overload:
    """Many cameras on one detector. A pair holds the values of the first and of the last third of the time.

    Args:
        kind: kind of the cameras, RTSP or MJPEG.
        cameras: number of cameras.
        load: received frames per inferred frame.
        min_share: inferred frames of the camera with the fewest, over the mean of all cameras; 1 is fair.
        p50_ms: median age of a result when the sink has written it, counted from the capture of its frame; of the
            worst camera.
        p95_ms: 95th percentile of the same age.
        arrival_ms: median age of a frame on arrival with one camera alone: the time to encode and send it and, with
            H.264, the period after which the decoder knows that the frame is complete.
        allowed_ms: one inference, two frame periods, and the time for decoding, preprocessing, postprocessing and the
            sink; the camera's own time is not included.
        memory_mb: resident memory of this process, at the start and at the end.
        threads: number of threads of this process, at the start and at the end.
    """

    kind: str
    cameras: int
    load: float
    min_share: float
    p50_ms: Pair
    p95_ms: Pair
    arrival_ms: float
    allowed_ms: float
    memory_mb: Pair
    threads: tuple[int, int]


class ResultAge(NamedTuple):
    """When a result was written, and the ages of its frame then and on arrival, in seconds."""

    stream: str
    written: float
    arrival_s: float
    age_s: float


class AgeSink:
    """A sink that records the age of each result, counted from the capture of its frame by the stamp in its pixels."""

    name = "ages"

    def __init__(self) -> None:
        self.ages: list[ResultAge] = []

    def write(self, result: Result) -> None:
        """Record the age of a result."""
        frame = result.frame
        captured = read_stamp(frame.image()) / 1e9
        now = time.monotonic()
        self.ages.append(ResultAge(frame.stream, now, frame.arrived - captured, now - captured))

    def gap(self, stream: str, reason: str) -> None:
        """Ignore a gap: it has no age."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def measure_overload(model: Path, images: Sequence[np.ndarray], cameras: int, threads: int, seconds: float) -> Overload:
    """Measure the pipeline in latency mode on more cameras than it can process, of 30 frames per second each.

    All streams open one camera in another process: H.264 over RTSP, or MJPEG if GStreamer's RTSP server is not
    installed. Streams are added until twice as many frames arrive as can be inferred.

    Args:
        model: an ONNX file.
        images: the frames of the camera, (480, 640, 3) BGR.
        cameras: minimum number of cameras.
        threads: threads of the detector.
        seconds: duration of the measurement, after a warm-up.
    """
    from fgd_yolo.streams.pipeline import Pipeline

    kind, sink = "RTSP" if rtsp_works() else "MJPEG", AgeSink()
    with camera(kind, images, CAMERA_FPS) as address, redirect_stderr(StringIO()):
        pipeline = Pipeline(OnnxDetector(model, "cpu", threads), [sink])
        with pipeline:
            arrival_ms, preprocess_ms = _measure_first_camera(pipeline, sink, address)
            cameras = _add_cameras(pipeline, address, cameras)
            start, before, footprint = time.monotonic(), pipeline.stats()["streams"], _footprint()
            time.sleep(seconds)
            end, after = time.monotonic(), pipeline.stats()["streams"]
            memory_mb, thread_count = zip(footprint, _footprint(), strict=True)
    inferred = _increase(before, after, "inferred")
    third = (end - start) / 3
    thirds = [_ages_by_camera(sink, start, start + third), _ages_by_camera(sink, end - third, end)]
    p50_ms, p95_ms = (
        tuple(1e3 * max(np.percentile(ages, percent) for ages in by_camera) for by_camera in thirds)
        for percent in (50, 95)
    )
    return Overload(
        kind,
        cameras,
        load=ratio(sum(_increase(before, after, "seen")), sum(inferred)),
        min_share=ratio(min(inferred), float(np.mean(inferred))),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        arrival_ms=arrival_ms,
        allowed_ms=2e3 / CAMERA_FPS + preprocess_ms + np.mean([_stages_ms(one["ages"]) for one in after.values()]),
        memory_mb=memory_mb,
        threads=thread_count,
    )


def _measure_first_camera(pipeline: Pipeline, sink: AgeSink, address: str) -> tuple[float, float]:
    """Open the first camera; return the median age of its frames on arrival, and the time to preprocess one, in ms."""
    name = pipeline.add(address, "camera0")
    _wait_for_all(pipeline)
    time.sleep(WARM_UP_S)
    ages = pipeline.stats()["streams"][name]["ages"]
    arrival_ms = 1e3 * float(np.median([age.arrival_s for age in sink.ages]))
    return arrival_ms, ages["infer_start"]["p50_ms"] - ages["decoded"]["p50_ms"]


def _add_cameras(pipeline: Pipeline, address: str, cameras: int) -> int:
    """Add cameras until they reach the target load; return their number."""
    opened = 1
    while True:
        for number in range(opened, cameras):
            pipeline.add(address, f"camera{number}")
        opened = cameras
        _wait_for_all(pipeline)
        time.sleep(WARM_UP_S)
        before = pipeline.stats()["streams"]
        time.sleep(WARM_UP_S)
        after = pipeline.stats()["streams"]
        load = ratio(sum(_increase(before, after, "seen")), sum(_increase(before, after, "inferred")))
        if load is None or load >= TARGET_LOAD or opened == MAX_CAMERAS:
            return opened
        cameras = min(MAX_CAMERAS, max(opened + 1, ceil(opened * TARGET_LOAD / load)))


def _wait_for_all(pipeline: Pipeline) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(stream["inferred"] for stream in pipeline.stats()["streams"].values()):
        if time.monotonic() > deadline:
            raise FGDError(
                f"a simulated camera sent no frame within {START_TIMEOUT_S:.0f} s: run the benchmark on an idle machine"
            )
        time.sleep(0.1)


def _increase(before: dict[str, Any], after: dict[str, Any], key: str) -> list[int]:
    return [after[name][key] - before[name][key] for name in after]


def _ages_by_camera(sink: AgeSink, start: float, end: float) -> list[list[float]]:
    """Return the ages in seconds of the results written between two instants, one list for each camera."""
    ages: dict[str, list[float]] = {}
    for age in sink.ages:
        if start <= age.written < end:
            ages.setdefault(age.stream, []).append(age.age_s)
    return list(ages.values())


def _stages_ms(ages: dict[str, dict[str, float]]) -> float:
    """Return the median time of decoding, one run of the network, postprocessing and the sink."""
    median = {stage: values["p50_ms"] for stage, values in ages.items()}
    return median["decoded"] + median["sink_done"] - median["infer_start"]


def _footprint() -> tuple[float, int]:
    """Return the resident memory of this process in MB, and its number of threads."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])
