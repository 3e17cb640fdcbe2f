"""The environment of a pipeline in tests: scripted cameras, and a real detector."""

from __future__ import annotations

import threading
import time

import numpy as np

from fgd_yolo.streams.sources import SourceEnded, SourceFrame, SourceLost

BAD, LOST, HANG = object(), object(), object()
IMAGE = np.full((16, 16, 3), 90, np.uint8)


class Camera:
    """A camera that follows its script, one step every `period_s`, and then ends."""

    live, fps = True, None

    def __init__(self, script, period_s, hangs):
        self._script, self._period_s, self._hangs = iter(script), period_s, hangs

    def read(self):
        if self._period_s:
            time.sleep(self._period_s)
        step = next(self._script, None)
        if step is HANG:
            self._hangs.wait(60)
        if step is None or step is HANG:
            raise SourceEnded
        if step is LOST:
            raise SourceLost("unplugged")
        now = time.monotonic()
        return SourceFrame(np.zeros((4, 4, 3), np.int64) if step is BAD else IMAGE, now, now, None)

    def close(self):
        pass


class World:
    """Cameras by address, and the detector that the pipelines of a test share."""

    def __init__(self, detector):
        self.detector, self.hangs, self._cameras = detector, threading.Event(), {}

    def camera(self, name, script, period_s=0.0):
        """Add a camera and return its address; its script continues over reconnects."""
        address = f"rtsp://127.0.0.1:9/{name}"
        self._cameras[address] = Camera(script, period_s, self.hangs)
        return address

    def open(self, address, timeout_s):
        return self._cameras[address]

    def slow_down(self, seconds):
        """Make each run of the network take this long."""
        infer = self.detector.infer
        self.detector.infer = lambda batch: time.sleep(seconds) or infer(batch)


def forever():
    while True:
        yield IMAGE


def balanced(stats):
    """Assert that every frame of every stream is accounted for."""
    for stream in (*stats["streams"].values(), *stats["removed"]):
        assert stream["seen"] == stream["inferred"] + sum(stream["dropped"].values()) + stream["in_flight"]
        assert 0 <= stream["in_flight"] <= 2 * 3 + 5
        assert stream["delivered"] <= stream["inferred"]
        assert stream["ages"]["infer_end"]["count"] == stream["inferred"]
    return stats


def until(condition, timeout_s=20.0):
    """Wait for a condition, and fail if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)
