"""Results of streams and a sink for them, without a detector and a camera."""

from __future__ import annotations

import threading
import time

import numpy as np

from fgd_yolo.runtime.detections import Detections
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.sinks import SinkQueue

LONG_S = 30  # how long a test waits
NAMES = {0: "disc", 1: "block", 2: "wedge"}


def make_result(
    stream: str = "door",
    index: int = 0,
    objects: tuple = ((1, 0.9, (8, 8, 24, 20)),),
    *,
    image: np.ndarray | None = None,
    arrived: float | None = None,
    pts: float | None = None,
    tracker_id: list[int] | None = None,
) -> Result:
    """Return a result with objects (class, confidence, corners) on a grey image of 48 x 64, or on the given one."""
    image = np.full((48, 64, 3), 90, np.uint8) if image is None else image
    arrived = time.monotonic() if arrived is None else arrived
    labels, scores, boxes = zip(*objects, strict=True) if objects else ((), (), ())
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        NAMES,
        image.shape[:2],
        tracker_id=None if tracker_id is None else np.array(tracker_id, np.int64),
    )
    return Result(Frame(stream, index, image, arrived, arrived, pts), detections, arrived, arrived + 0.01)


class Recorder:
    """A sink that records its results, and blocks or raises as the test demands."""

    def __init__(self, name: str = "recorder"):
        self.name = name
        self.received: list = []
        self.errors: list = []
        self.entered, self.proceed, self.closed = threading.Semaphore(0), threading.Event(), threading.Event()
        self.proceed.set()

    def write(self, result):
        self.entered.release()
        self.proceed.wait(LONG_S)
        if self.errors:
            raise self.errors.pop(0)
        self.received.append(result.frame.index)

    def gap(self, stream, reason):
        self.received.append((stream, reason))

    def close(self):
        self.closed.set()


def blocked(sink: Recorder, **limits) -> SinkQueue:
    """Return a queue whose sink is blocked in `write` with result 0."""
    sink.proceed.clear()
    queue = SinkQueue(sink, **limits)
    assert queue.put(make_result(index=0))
    assert sink.entered.acquire(timeout=LONG_S)
    return queue
