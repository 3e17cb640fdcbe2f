"""A stream reader on a real address, and a record of the frames that it reads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, FrameBuffer
from fgd_yolo.streams.stats import StreamStats
from tests.cameras.pytest_helpers import until
from tests.cameras.stamp import read_stamp


class FrameRecord(NamedTuple):
    """One frame; `age_s` is the time from its capture to its decoding, by the stamp in its pixels."""

    index: int
    arrived: float
    pts: float | None
    size: tuple[int, int]
    age_s: float


class WatchedReader:
    """A running reader; its `with` block stops it at the end."""

    def __init__(
        self, address: str, name: str = "cam", stall_s: float = 1.0, backoff: tuple[float, float] = (0.1, 0.5)
    ):
        self.frames: list[FrameRecord] = []
        self.states: list[tuple[str, str]] = []
        self.stats = StreamStats(name, lambda: self.states.append((self.stats.state, self.stats.reason)))
        self.buffer = FrameBuffer(DropPolicy("latest"), self.stats)
        self.reader = Reader(name, address, self._record, self.stats, stall_s=stall_s, backoff=backoff)

    def _record(self, frame: Frame) -> None:
        image = Frame(frame.stream, frame.index, frame.pixels, frame.arrived, frame.decoded).image()
        age_s = frame.decoded - read_stamp(image) / 1e9
        self.frames.append(FrameRecord(frame.index, frame.arrived, frame.pts, image.shape[1::-1], age_s))
        self.buffer.put(frame)

    @property
    def state(self) -> str:
        return self.stats.state

    def wait_until_up(self, frames: int = 10, timeout_s: float = 10.0) -> bool:
        """Wait until the stream is UP and has read this number of further frames."""
        return self.until(lambda: self.state == "UP", timeout_s) and self.wait_for_frames(frames, timeout_s)

    def wait_for_frames(self, frames: int, timeout_s: float = 10.0) -> bool:
        """Wait until this number of further frames is read."""
        target = len(self.frames) + frames
        return until(lambda: len(self.frames) >= target, timeout_s)

    def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
        """Wait until a condition holds."""
        return until(condition, timeout_s)

    def longest_gap_s(self, since: float) -> float:
        """Return the longest time between two frames that arrived after an instant."""
        times = [frame.arrived for frame in self.frames if frame.arrived >= since]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))

    def __enter__(self) -> WatchedReader:
        self.reader.start()
        return self

    def __exit__(self, *_) -> None:
        self.reader.stop()
        assert self.reader.join(5)
