"""Picks the frame that goes next, from the stream that was served longest ago, and limits the runs at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.scheduling.frame_buffer import DropPolicy

_NEWEST_WEIGHT = 0.2  # of the newest duration in a running mean


class RunSlots:
    """Limits how many network runs happen at a time.

    With more workers than slots, a worker preprocesses its frame while another one's is inferred. A frame that is
    preprocessed too early would then wait for almost one run, and age. So a worker that is early waits before it takes
    a frame.

    Args:
        slots: runs at a time.
        on_release: called after each run.
    """

    def __init__(self, slots: int, on_release: Callable[[], object] = lambda: None):
        self._slots = threading.Semaphore(slots)
        self._count = slots
        self._on_release = on_release
        self._lock = threading.Lock()
        self._started: dict[int, float] = {}  # when the run of each thread began
        self._reserved: set[int] = set()  # threads that have a frame and no slot yet
        self._run_s = self._preprocess_s = 0.0

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a slot for one run."""
        with self._slots:
            start = time.monotonic()
            with self._lock:
                self._reserved.discard(threading.get_ident())
                self._started[threading.get_ident()] = start
            try:
                yield
            finally:
                with self._lock:
                    del self._started[threading.get_ident()]
                    self._run_s = _running_mean(self._run_s, time.monotonic() - start)
                self._on_release()

    def reserve(self) -> None:
        """Announce that this thread has a frame and will need a slot; valid until `acquire` or `cancel`."""
        with self._lock:
            self._reserved.add(threading.get_ident())

    def cancel(self) -> None:
        """Withdraw this thread's reservation, if it has one."""
        with self._lock:
            self._reserved.discard(threading.get_ident())

    def record_preprocessing(self, seconds: float) -> None:
        """Update the mean time that it takes to preprocess a frame."""
        with self._lock:
            self._preprocess_s = _running_mean(self._preprocess_s, seconds)

    def delay_s(self, now: float | None = None) -> float:
        """Return how many seconds to wait before a live frame is taken; 0 when a slot is free, or soon will be."""
        with self._lock:
            if len(self._started) + len(self._reserved) < self._count:
                return 0.0
            now = time.monotonic() if now is None else now
            # A free slot that is reserved counts as if its run began now.
            start = min(self._started.values()) if len(self._started) == self._count else now
            return max(0.0, start + self._run_s - 2 * self._preprocess_s - now)


def _running_mean(mean: float, value: float) -> float:
    return mean + _NEWEST_WEIGHT * (value - mean) if mean else value


class ScheduledStream(Protocol):
    """A stream as the scheduler sees it. Everything but `finish` is called with the scheduler's lock held."""

    name: str
    policy: DropPolicy
    last_served: int  # set by the scheduler

    @property
    def is_ready(self) -> bool:
        """Whether `pop` may be called: a frame waits, and not too many are in flight."""

    def pop(self) -> tuple[int, Frame] | None:
        """Return the next frame and its ticket; None if it was dropped."""

    def finish(self, ticket: int, outcome: Result | None) -> None:
        """Hand over the result of a frame, None if it failed."""


class ScheduledFrame(NamedTuple):
    """A frame that a worker took, and its ticket in its stream's reorder buffer."""

    stream: ScheduledStream
    ticket: int
    frame: Frame


class Scheduler:
    """Gives the frames of all streams to the workers. One lock guards all of it; threads that wait are notified.

    Args:
        slots: the run slots, which determine when it is too early for a live frame.
        batch: the most frames of one run.
        window_s: how long the first frame of a batch waits for others.
    """

    def __init__(self, slots: RunSlots, batch: int = 1, window_s: float = 0.0):
        self.lock = threading.RLock()
        self.streams: dict[str, ScheduledStream] = {}
        self._ready = threading.Condition(self.lock)
        self._slots, self._batch, self._window_s = slots, batch, window_s
        self._served = 0
        self._closed = False

    def notify(self) -> None:
        """Wake one waiting worker."""
        with self.lock:
            self._ready.notify()

    def next_batch(self) -> list[ScheduledFrame]:
        """Wait for frames and return a batch, that of the stream served longest ago first; empty once closed."""
        self._slots.cancel()  # in case none of the previous batch reached the network
        with self.lock:
            while not self._closed:
                stream = self._next_stream([])
                delay_s = self._delay_s(stream) if stream else None
                if delay_s != 0:
                    self._ready.wait(delay_s)
                elif batch := self._collect():
                    self._slots.reserve()
                    if self._next_stream([]):  # its notification may have woken a worker that could not take it
                        self._ready.notify()
                    return batch
            return []

    def close(self) -> None:
        """Stop all workers: `next_batch` returns nothing from now on."""
        with self.lock:
            self._closed = True
            self._ready.notify_all()

    def _next_stream(self, batch: list[ScheduledFrame]) -> ScheduledStream | None:
        """Return the ready stream that was served longest ago; a live one at most once per batch."""
        live = {scheduled.stream.name for scheduled in batch if not scheduled.stream.policy.keeps_all}
        ready = (stream for stream in self.streams.values() if stream.is_ready and stream.name not in live)
        return min(ready, key=lambda stream: stream.last_served, default=None)

    def _delay_s(self, stream: ScheduledStream) -> float:
        return 0.0 if stream.policy.keeps_all else self._slots.delay_s()

    def _collect(self) -> list[ScheduledFrame]:
        """Take what is ready and wait up to `window_s` for more; empty if `max-age` dropped everything."""
        batch: list[ScheduledFrame] = []
        deadline = time.monotonic() + self._window_s
        while len(batch) < self._batch:
            if stream := self._next_stream(batch):
                self._served += 1
                stream.last_served = self._served
                if popped := stream.pop():
                    batch.append(ScheduledFrame(stream, *popped))
                continue
            remaining_s = deadline - time.monotonic()
            if not batch or remaining_s <= 0 or self._closed:
                break
            self._ready.wait(remaining_s)
        return batch
