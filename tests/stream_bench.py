"""A reader on scripted sources, which hang on demand; real sources are in the integration tests."""

from __future__ import annotations

import threading
import time

import numpy as np

from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, FrameBuffer
from fgd_yolo.streams.sources import SourceFrame, SourceLost
from fgd_yolo.streams.stats import StreamStats

QUICK = {"stall_s": 0.2, "backoff": (0.01, 0.02)}
LIVE = "rtsp://admin:hunter2@10.0.0.7/cam"


class ScriptedSource:
    """A source with a script: a number is a frame, an event is a hang, an exception is raised."""

    live, fps = True, None

    def __init__(self, script):
        self.script, self.closed_by = list(script), None

    def read(self):
        step = self.script.pop(0) if self.script else SourceLost("the script is over")
        if isinstance(step, threading.Event):
            step.wait(20)
            step = 99
        if isinstance(step, Exception):
            raise step
        now = time.monotonic()
        return SourceFrame(np.full((4, 4, 3), step, np.uint8), now, now, float(step))

    def close(self):
        self.closed_by = threading.current_thread()


class ReaderBench:
    """A reader on scripted sources, with one script per opening; the last one is repeated."""

    def __init__(self, *scripts, address=LIVE, policy="latest", **options):
        self.scripts, self.sources, self.frames, self.states, self.reasons = list(scripts), [], [], [], []
        self.stats = StreamStats("cam", self._note)
        self.buffer = FrameBuffer(DropPolicy(policy), self.stats)
        options = {**QUICK, "open_source": self.open, **options}
        self.reader = Reader("cam", address, self._keep, self.stats, **options)

    def open(self, address, *, timeout_s):
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, Exception):
            raise script
        if isinstance(script, threading.Event):
            script.wait(20)
            raise SourceLost("woken")
        self.sources.append(ScriptedSource(script))
        return self.sources[-1]

    def _keep(self, frame):
        self.frames.append(frame)
        self.buffer.put(frame)

    def _note(self):
        self.states.append(self.stats.state)
        self.reasons.append(self.stats.reason)

    def seen(self):
        return [int(frame.pixels[0, 0, 0]) for frame in self.frames]
