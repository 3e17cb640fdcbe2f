"""Helpers for tests of streams: frames, results, recording and blocking sinks, and H.264 files."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from fgd_yolo.runtime.detections import Detections
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.scheduling.frame_buffer import parse_policy
from fgd_yolo.streams.stream import Stream


def make_frame(index: int = 0, stream: str = "door", *, age_s: float = 0.0, side: int = 4, value: int = 0) -> Frame:
    arrived = time.monotonic() - age_s
    return Frame(stream, index, np.full((side, side, 3), value, np.uint8), arrived, arrived, None)


def make_result(frame: Frame | None = None, *, start_s: float = 0.0, end_s: float = 0.0) -> Result:
    """Return a result without objects; the times are seconds since the frame arrived."""
    frame = frame or make_frame()
    boxes, none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    detections = Detections(boxes, none, none.astype(np.int64), {0: "disc"}, (4, 4))
    return Result(frame, detections, frame.arrived + start_s, frame.arrived + end_s)


def count_inferred(stats, result):
    stats.count_inferred(result.ages_s(), result.infer_end)


class RecordingSink:
    """A sink that records (stream, index) of results and (stream, reason) of gaps."""

    name = "recording"

    def __init__(self) -> None:
        self.events: list[tuple[str, int | str]] = []
        self.closed = False

    def write(self, result: Result) -> None:
        self.events.append((result.frame.stream, result.frame.index))

    def gap(self, stream: str, reason: str) -> None:
        self.events.append((stream, reason))

    def close(self) -> None:
        self.closed = True

    def indices(self) -> dict[str, list[int]]:
        """Return the frame indices of each stream, in the order in which they came."""
        indices_by_stream = defaultdict(list)
        for stream, index in self.events:
            if isinstance(index, int):
                indices_by_stream[stream].append(index)
        return dict(indices_by_stream)


class BlockingSink(RecordingSink):
    """A sink that blocks in its first write until `proceed` is set."""

    name = "stuck"

    def __init__(self) -> None:
        super().__init__()
        self.began, self.proceed = threading.Event(), threading.Event()

    def write(self, result: Result) -> None:
        self.began.set()
        self.proceed.wait(30)
        super().write(result)


class DirectQueue:
    """A queue without a thread: results are written at once."""

    def __init__(self):
        self.sink = RecordingSink()
        self.put = self.offer = lambda result: self.sink.write(result) or True
        self.gap = self.sink.gap


def make_stream(steps=None, address=0, policy="latest", on_idle=lambda: None, previous=None):
    lock = threading.RLock()
    return Stream("door", address, parse_policy(policy), 4, lock, lambda: None, on_idle, steps, previous)


def take(stream, index):
    """Put a frame and pop it, as reader and worker do; return a function that finishes it."""
    stream.frames.put(make_frame(index))
    ticket, frame = stream.pop()
    return lambda failed=False: stream.finish(ticket, None if failed else make_result(frame))


def events(stream):
    return [item for _, item in stream.queues[0].sink.events]


def counts(stream):
    snapshot = stream.snapshot()
    dropped = sum(snapshot["dropped"].values())
    assert snapshot["seen"] == snapshot["inferred"] + dropped + snapshot["in_flight"]
    return snapshot["inferred"], snapshot["delivered"], snapshot["dropped"], snapshot["in_flight"]


def write_video(path: Path, frames: int, *, width: int = 64, height: int = 64, fps: int = 25) -> Path:
    """Write an H.264 file; the grey level of frame n is 16 + 4 * n, modulo 200."""
    import av

    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=fps)
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = np.full((height, width, 3), 16 + 4 * number % 200, np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(track.encode())
    return path
