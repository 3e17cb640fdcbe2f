"""Whose frame goes next: the freshest one of the stream that has waited longest."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.scheduling.run_slots import Runs
from fgd_yolo.streams.stream import Stream


class Turn(NamedTuple):
    """A frame that was taken, and its place in its stream's order."""

    stream: Stream
    ticket: int
    frame: Frame


class Turns:
    """The streams that lanes take frames from. All of it under one lock; who waits is woken, nobody looks again.

    Args:
        runs: says when it is too early for a live frame.
        batch: frames that go together, at most.
        window_s: for so long a first frame waits for others.
    """

    def __init__(self, runs: Runs, batch: int = 1, window_s: float = 0.0):
        self.lock = threading.RLock()
        self.ready = threading.Condition(self.lock)
        self.streams: dict[str, Stream] = {}
        self._runs, self._batch, self._window_s = runs, batch, window_s
        self._served = 0
        self._closed = False

    def wake(self) -> None:
        """Let a waiting lane look again."""
        with self.lock:
            self.ready.notify()

    def take(self) -> list[Turn]:
        """Wait for frames and return those that go together, the oldest-served stream's first; none once closed."""
        self._runs.unclaim()  # where nothing could be run of the last ones
        with self.lock:
            while not self._closed:
                stream = self._next([])
                early_s = self._early_s(stream) if stream else None
                if early_s != 0:
                    self.ready.wait(early_s)
                elif turns := self._collect():
                    self._runs.claim()
                    if self._next([]):  # whoever was woken for that frame may not have been able to take it
                        self.ready.notify()
                    return turns
            return []

    def close(self) -> None:
        """Send all lanes home."""
        with self.lock:
            self._closed = True
            self.ready.notify_all()

    def _next(self, taken: list[Turn]) -> Stream | None:
        """Return the stream that was served longest ago, of those that have a frame; a live one only once per batch."""
        live = {turn.stream.name for turn in taken if turn.stream.mailbox.policy.name != "every"}
        waiting = (stream for stream in self.streams.values() if stream.waiting and stream.name not in live)
        return min(waiting, key=lambda stream: stream.served, default=None)

    def _early_s(self, stream: Stream) -> float:
        return 0.0 if stream.mailbox.policy.name == "every" else self._runs.early_s()

    def _collect(self) -> list[Turn]:
        """Take what is ready, and wait a little for more; `max-age` may leave nothing."""
        turns: list[Turn] = []
        deadline = time.monotonic() + self._window_s
        while len(turns) < self._batch:
            if stream := self._next(turns):
                self._served += 1
                stream.served = self._served
                if frame := stream.mailbox.take():
                    turns.append(Turn(stream, stream.order.start(), frame))
                else:  # what was too old may have been the last one
                    stream.settle()
                continue
            remaining_s = deadline - time.monotonic()
            if not turns or remaining_s <= 0 or self._closed:
                break
            self.ready.wait(remaining_s)
        return turns
