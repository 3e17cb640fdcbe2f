"""The frames of one stream that wait for a worker, and the policy that decides which of them are dropped."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.stats import StreamStats

_POLICIES = ("latest", "every", "max-age")
# The reader of a file may be this far ahead: enough that no worker waits for a single slow frame.
_MAX_FRAMES = 4
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class DropPolicy:
    """Which frames are dropped when more arrive than the detector can process.

    Args:
        name: `latest` keeps only the newest frame; `every` keeps all frames and makes the reader wait for room;
            `max-age` is `latest`, and also drops a frame that is too old when a worker takes it.
        max_age_s: the limit of `max-age`, in seconds since the frame arrived.
    """

    name: str
    max_age_s: float | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether no frame may be dropped for a newer one."""
        return self.name == "every"

    def __str__(self) -> str:
        return self.name if self.max_age_s is None else f"{self.name}={self.max_age_s * 1000:g}"


def parse_policy(text: str) -> DropPolicy:
    """Parse `latest`, `every` or `max-age=MS`.

    Raises:
        UsageError: the text is none of them.
    """
    name, equals, value = str(text).strip().lower().partition("=")
    if name not in _POLICIES or (equals and name != "max-age"):
        guess = close_match(name, _POLICIES)
        raise UsageError(f"unknown policy '{redact(text)}'{guess} (choose from latest, every, max-age=MS)")
    if name != "max-age":
        return DropPolicy(name)
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise UsageError(f"policy '{redact(text)}' needs an age in milliseconds above 0, such as max-age=500")
    return DropPolicy(name, milliseconds / 1000)


class FrameBuffer:
    """A bounded buffer between the reader of one stream and the workers.

    Args:
        policy: which frames may wait.
        stats: the stream's counters. Every frame that is put counts as seen, every dropped one by its cause.
        lock: a reentrant lock shared by all buffers of a pipeline, so that a worker sees them at one instant.
        on_put: called with the lock held when a frame was added.

    `last_index` is the index of the last frame that was put, -1 before the first.
    """

    def __init__(
        self,
        policy: DropPolicy,
        stats: StreamStats,
        lock: threading.RLock | None = None,
        on_put: Callable[[], object] = lambda: None,
    ):
        self.policy = policy
        self.stats = stats
        self.last_index = -1
        self._frames: deque[Frame] = deque()
        self._lock = lock or threading.RLock()
        # A condition of its own on the shared lock: a worker that takes a frame wakes this reader and no other thread.
        self._room = threading.Condition(self._lock)
        self._on_put = on_put
        self._closed_by: str | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> None:
        """Add a frame. It replaces a waiting one; under `every` this blocks until there is room or it is closed."""
        with self._lock:
            self.stats.count_seen()
            self.last_index = frame.index
            if self.policy.keeps_all:
                self._room.wait_for(lambda: self._closed_by is not None or not self._is_full())
            if self._closed_by is not None:
                self.stats.count_dropped(self._closed_by)
                return
            if not self.policy.keeps_all and self._frames:
                self._frames.clear()
                self.stats.count_dropped("newer frame")
            self._frames.append(frame)
            self._on_put()

    def pop(self) -> Frame | None:
        """Remove and return the next frame; None if there is none or it exceeded `max-age`."""
        with self._lock:
            if not self._frames:
                return None
            frame = self._frames.popleft()
            if len(self._frames) <= _MAX_FRAMES // 2:  # so that a blocked reader wakes for several frames at a time
                self._room.notify()
            limit_s = self.policy.max_age_s
            if limit_s is not None and time.monotonic() - frame.arrived > limit_s:
                self.stats.count_dropped("too old")
                return None
            return frame

    def close(self, cause: str) -> None:
        """Drop all waiting and future frames, counted by this cause, and unblock a reader that waits for room."""
        with self._lock:
            if self._closed_by is None:
                self._closed_by = cause
                self.stats.count_dropped(cause, len(self._frames))
                self._frames.clear()
                self._room.notify_all()

    def _is_full(self) -> bool:
        return len(self._frames) >= _MAX_FRAMES or sum(frame.nbytes for frame in self._frames) >= _MAX_BYTES
