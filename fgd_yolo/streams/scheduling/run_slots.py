"""The network's run slots, and when a live frame should be taken so as to be ready just when one falls free."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NEW = 0.2  # the weight of the newest time in a running mean


class Runs:
    """As many runs of the network at a time as the session can usefully make.

    With more lanes than slots a lane prepares its frame while another one's is inferred. Done at once the frame would
    then wait for almost a whole run, and age; so a lane that is early is told to wait before it takes one.

    Args:
        slots: runs at a time.
        on_free: called after each run.
    """

    def __init__(self, slots: int, on_free: Callable[[], object] = lambda: None):
        self._slots = threading.Semaphore(slots)
        self._count = slots
        self._on_free = on_free
        self._lock = threading.Lock()
        self._started: dict[int, float] = {}  # by thread
        self._coming: set[int] = set()  # threads that have a frame and no slot yet
        self._run_s = self._prepare_s = 0.0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for one run."""
        with self._slots:
            start = time.monotonic()
            with self._lock:
                self._coming.discard(threading.get_ident())
                self._started[threading.get_ident()] = start
            try:
                yield
            finally:
                with self._lock:
                    del self._started[threading.get_ident()]
                    self._run_s = _learn(self._run_s, time.monotonic() - start)
                self._on_free()

    def claim(self) -> None:
        """Say that this thread has a frame and will want a slot: until `slot`, or `unclaim` if nothing comes of it."""
        with self._lock:
            self._coming.add(threading.get_ident())

    def unclaim(self) -> None:
        """Take back what `claim` said, if it still holds."""
        with self._lock:
            self._coming.discard(threading.get_ident())

    def prepared(self, seconds: float) -> None:
        """Learn how long the preparation of a frame takes."""
        with self._lock:
            self._prepare_s = _learn(self._prepare_s, seconds)

    def early_s(self, now: float | None = None) -> float:
        """Return how many seconds it is too early to take a live frame: 0 when a slot is free, or soon will be."""
        with self._lock:
            if len(self._started) + len(self._coming) < self._count:
                return 0.0
            now = time.monotonic() if now is None else now
            # A slot that is free, but that a lane with a frame is about to get, is as good as taken now.
            start = min(self._started.values()) if len(self._started) == self._count else now
            return max(0.0, start + self._run_s - 2 * self._prepare_s - now)


def _learn(mean: float, value: float) -> float:
    return mean + _NEW * (value - mean) if mean else value
