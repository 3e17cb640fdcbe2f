"""Between a stream's reader and the lanes: a few frames at most, each of which is taken or counted as dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.scheduling.policy import Policy
from fgd_yolo.streams.stats import StreamStats

# A reader of a file is at most so far ahead: enough that no lane waits for one slow frame.
_FRAMES = 4
_BYTES = 64 * 2**20


class Mailbox:
    """The frames of one stream that wait for a lane, as its policy lets them.

    Args:
        policy: which frames may wait.
        stats: of the stream; every frame that is put counts as seen, and each that is dropped by its cause.
        lock: shared by all mailboxes of a pipeline, so that a lane sees them all at once; a reentrant one.
        on_put: called with the lock held when a frame is there.

    `last_index` is the index of the last frame that was put, -1 before.
    """

    def __init__(
        self,
        policy: Policy,
        stats: StreamStats,
        lock: threading.RLock | None = None,
        on_put: Callable[[], object] = lambda: None,
    ):
        self.policy = policy
        self.stats = stats
        self.last_index = -1
        self._frames: deque[Frame] = deque()
        self._lock = lock or threading.RLock()
        # Its own condition on the common lock: a lane that takes a frame wakes this reader and no other thread.
        self._room = threading.Condition(self._lock)
        self._on_put = on_put
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> None:
        """Offer a frame. It replaces one that still waits; under `every` this waits for room, or until closed."""
        with self._lock:
            self.stats.count_seen()
            self.last_index = frame.index
            if self.policy.name == "every":
                self._room.wait_for(lambda: self._closed is not None or not self._full())
            if self._closed is not None:
                self.stats.count_dropped(self._closed)
                return
            if self.policy.name != "every" and self._frames:
                self._frames.clear()
                self.stats.count_dropped("newer frame")
            self._frames.append(frame)
            self._on_put()

    def take(self) -> Frame | None:
        """Return the frame whose turn it is, or None: there is none, or `max-age` has dropped it."""
        with self._lock:
            if not self._frames:
                return None
            frame = self._frames.popleft()
            if len(self._frames) <= _FRAMES // 2:  # so that a waiting reader wakes for several frames at a time
                self._room.notify()
            limit_s = self.policy.max_age_s
            if limit_s is not None and time.monotonic() - frame.arrived > limit_s:
                self.stats.count_dropped("too old")
                return None
            return frame

    def close(self, cause: str) -> None:
        """Drop what waits and all that will be put, counted by this cause; a reader that waits for room goes on."""
        with self._lock:
            if self._closed is None:
                self._closed = cause
                self.stats.count_dropped(cause, len(self._frames))
                self._frames.clear()
                self._room.notify_all()

    def _full(self) -> bool:
        return len(self._frames) >= _FRAMES or sum(frame.nbytes for frame in self._frames) >= _BYTES
