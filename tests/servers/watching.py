"""A stream under test: a reader on a real address, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy, FrameBuffer
from fgd_yolo.streams.stats import StreamStats
from servers.running import until
from tests.cameras.stamp import read_stamp


class Seen(NamedTuple):
    """What one frame told: `age_s` is from its drawing to its decoding, by the stamp in its pixels."""

    index: int
    arrived: float
    pts: float | None
    size: tuple[int, int]
    age_s: float


class Watched:
    """A running reader; leave its `with` block to stop it."""

    def __init__(
        self, address: str, name: str = "cam", stall_s: float = 1.0, backoff: tuple[float, float] = (0.1, 0.5)
    ):
        self.seen: list[Seen] = []
        self.states: list[tuple[str, str]] = []
        self.stats = StreamStats(name, lambda: self.states.append((self.stats.state, self.stats.reason)))
        self.frames = FrameBuffer(DropPolicy("latest"), self.stats)
        self.reader = Reader(name, address, self._see, self.stats, stall_s=stall_s, backoff=backoff)

    def _see(self, frame: Frame) -> None:
        image = Frame(frame.stream, frame.index, frame.pixels, frame.arrived, frame.decoded).image()
        age_s = frame.decoded - read_stamp(image) / 1e9
        self.seen.append(Seen(frame.index, frame.arrived, frame.pts, image.shape[1::-1], age_s))
        self.frames.put(frame)

    @property
    def state(self) -> str:
        return self.stats.state

    def flows(self, frames: int = 10, within_s: float = 10.0) -> bool:
        """Wait until it is UP and so many more frames came."""
        return self.until(lambda: self.state == "UP", within_s) and self.more(frames, within_s)

    def more(self, frames: int, within_s: float = 10.0) -> bool:
        """Wait until so many more frames came."""
        wanted = len(self.seen) + frames
        return until(lambda: len(self.seen) >= wanted, within_s)

    def until(self, condition: Callable[[], object], within_s: float = 10.0) -> bool:
        """Wait until something is so."""
        return until(condition, within_s)

    def longest_gap_s(self, since: float) -> float:
        """Return the longest time between two frames that arrived after an instant."""
        times = [seen.arrived for seen in self.seen if seen.arrived >= since]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))

    def __enter__(self) -> Watched:
        self.reader.start()
        return self

    def __exit__(self, *_) -> None:
        self.reader.stop()
        assert self.reader.join(5)
