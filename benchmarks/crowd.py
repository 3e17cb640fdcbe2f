"""What is left of many cameras when they are twice as many as the machine can follow."""

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

CROWD_FPS = 30
TWICE = 2.0
MOST_CAMERAS = 64
WARM_UP_S = 3.0
_START_S = 30.0

Pair = tuple[float, float]


@dataclass(frozen=True)
class Overload:
    """Many cameras on one detector. Pairs are of the first and the last third of the time.

    Args:
        kind: of the cameras, RTSP or MJPEG.
        cameras: how many.
        load: frames that came for each that was inferred.
        least_share: the least inferred frames of a camera over a fair share, 1 where all got the same.
        p50_ms: median age of a result when the sink was done with it, since its picture was made; of the worst camera.
        p95_ms: likewise, of 19 in 20.
        arrival_ms: median age of a picture when it arrives, where there is one camera alone: the time that the camera
            takes to encode and send it and, with H.264, the period after which the decoder knows that it is whole.
        allowed_ms: one inference, two frame periods, and the time that decoding, preprocessing, postprocessing and the
            sink take; what the camera itself takes is not in it.
        memory_mb: of this process, at the start and at the end.
        threads: likewise.
    """

    kind: str
    cameras: int
    load: float
    least_share: float
    p50_ms: Pair
    p95_ms: Pair
    arrival_ms: float
    allowed_ms: float
    memory_mb: Pair
    threads: tuple[int, int]


class Aged(NamedTuple):
    """A result at a sink; ages are in seconds."""

    stream: str
    now: float
    arrival_s: float
    age_s: float


class AgeSink:
    """Keeps when each result came, and its ages on arrival and now since its picture was made, by the stamp in it."""

    name = "ages"

    def __init__(self) -> None:
        self.seen: list[Aged] = []

    def write(self, result: Result) -> None:
        """Take one result."""
        frame = result.frame
        made_s = read_stamp(frame.image()) / 1e9
        now = time.monotonic()
        self.seen.append(Aged(frame.stream, now, frame.arrived - made_s, now - made_s))

    def gap(self, stream: str, reason: str) -> None:
        """A gap has no age."""

    def close(self) -> None:
        """Nothing is open."""


def measure_overload(
    model: Path, pictures: Sequence[np.ndarray], cameras: int, threads: int, seconds: float
) -> Overload:
    """Return what becomes of cameras of 30 frames per second, in latency mode.

    They are H.264 over RTSP, or MJPEG where GStreamer's RTSP server is not installed: one camera in another process,
    which all streams open. More streams are added until twice as many frames come as can be inferred.

    Args:
        model: an ONNX file.
        pictures: what the cameras show, (480, 640, 3) BGR.
        cameras: how many at least.
        threads: of the detector.
        seconds: to measure, after a warm-up.
    """
    from fgd_yolo.streams.pipeline import Pipeline

    kind, sink = "RTSP" if rtsp_works() else "MJPEG", AgeSink()
    with camera(kind, pictures, CROWD_FPS) as address, redirect_stderr(StringIO()):
        pipeline = Pipeline(OnnxDetector(model, "cpu", threads), [sink])
        with pipeline:
            arrival_ms, preprocess_ms = _alone(pipeline, sink, address)
            cameras = _crowd(pipeline, address, cameras)
            start, before, footprint = time.monotonic(), pipeline.stats()["streams"], _footprint()
            time.sleep(seconds)
            end, after = time.monotonic(), pipeline.stats()["streams"]
            memory_mb, thread_count = zip(footprint, _footprint(), strict=True)
    inferred = _growth(before, after, "inferred")
    third = (end - start) / 3
    thirds = [_ages(sink, start, start + third), _ages(sink, end - third, end)]
    return Overload(
        kind,
        cameras,
        ratio(sum(_growth(before, after, "seen")), sum(inferred)),
        ratio(min(inferred), float(np.mean(inferred))),
        *(tuple(1e3 * max(np.percentile(ages, part) for ages in found) for found in thirds) for part in (50, 95)),
        arrival_ms,
        2e3 / CROWD_FPS + preprocess_ms + np.mean([_stages_ms(one["ages"]) for one in after.values()]),
        memory_mb,
        thread_count,
    )


def _alone(pipeline: Pipeline, sink: AgeSink, address: str) -> tuple[float, float]:
    """Open the first camera; return the median age of its pictures when they arrive, and the time to preprocess one."""
    name = pipeline.add(address, "camera0")
    _wait_for_all(pipeline)
    time.sleep(WARM_UP_S)
    ages = pipeline.stats()["streams"][name]["ages"]
    arrival_ms = 1e3 * float(np.median([one.arrival_s for one in sink.seen]))
    return arrival_ms, ages["infer_start"]["p50_ms"] - ages["decoded"]["p50_ms"]


def _crowd(pipeline: Pipeline, address: str, cameras: int) -> int:
    """Open cameras until they are twice as many as the detector can follow; return how many that is."""
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
        load = ratio(sum(_growth(before, after, "seen")), sum(_growth(before, after, "inferred")))
        if load is None or load >= TWICE or opened == MOST_CAMERAS:
            return opened
        cameras = min(MOST_CAMERAS, max(opened + 1, ceil(opened * TWICE / load)))


def _wait_for_all(pipeline: Pipeline) -> None:
    deadline = time.monotonic() + _START_S
    while not all(one["inferred"] for one in pipeline.stats()["streams"].values()):
        if time.monotonic() > deadline:
            raise FGDError(f"a test camera showed nothing for {_START_S:.0f} s: is the machine busy?")
        time.sleep(0.1)


def _growth(before: dict[str, Any], after: dict[str, Any], key: str) -> list[int]:
    return [after[name][key] - before[name][key] for name in after]


def _ages(sink: AgeSink, start: float, end: float) -> list[list[float]]:
    """Return the ages in seconds between two instants, by camera."""
    found: dict[str, list[float]] = {}
    for one in sink.seen:
        if start <= one.now < end:
            found.setdefault(one.stream, []).append(one.age_s)
    return list(found.values())


def _stages_ms(ages: dict[str, dict[str, float]]) -> float:
    """Return the median time of decoding, one run of the network, postprocessing and the sink."""
    median = {stage: found["p50_ms"] for stage, found in ages.items()}
    return median["decoded"] + median["sink_done"] - median["infer_start"]


def _footprint() -> tuple[float, int]:
    """Return the memory of this process in MB and its threads."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    said = dict(line.split(":", 1) for line in lines)
    return int(said["VmRSS"].split()[0]) / 1024, int(said["Threads"])
