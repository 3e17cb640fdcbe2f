"""One opening of a source, read in a thread of its own until it is lost or left behind."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fgd_yolo.errors import whole_line
from fgd_yolo.streams.sources import BadFrame, Picture, Source, SourceEnded, SourceLost

_LAST_WAIT_S = 4.5
_alive: weakref.WeakSet[Connection] = weakref.WeakSet()


class End(NamedTuple):
    """How a connection ended: `final` means that there is nothing more to come."""

    reason: str
    final: bool = False


class Connection(threading.Thread):
    """Opens a source and reads it.

    Nobody can wake a thread that is blocked in a camera's driver, and closing the camera for it crashes the process.
    So it is left behind: nothing of it is used any more, and it closes its own source when it wakes.

    Args:
        name: of the stream.
        open_it: returns the opened source.
        take: gets every picture; may block, which is not the camera's silence.
        skip: is called for every bad picture.
        tolerated: so many bad pictures in a row mean that the source is lost.
        changed: guards what the watcher sees, and is notified when that changes.
    """

    def __init__(
        self,
        name: str,
        open_it: Callable[[], Source],
        take: Callable[[Picture], object],
        skip: Callable[[], object],
        tolerated: int,
        changed: threading.Condition,
    ):
        super().__init__(name=f"stream {name}", daemon=True)
        self._open_it, self._take, self._skip, self._tolerated = open_it, take, skip, tolerated
        self._changed = changed
        self._left = False
        self._left_at = float("inf")
        self._waits_since: float | None = time.monotonic()
        self._bad = 0
        self.pictures = 0
        self.end: End | None = None

    def silent_s(self) -> float:
        """Say how long it has been waiting for a good picture; 0 while it hands one on. Call it with `changed` held."""
        return 0.0 if self._waits_since is None else time.monotonic() - self._waits_since

    def leave(self) -> None:
        """Use nothing of it any more. Call it with `changed` held, but for the end of the process."""
        if not self._left:
            self._left, self._left_at = True, time.monotonic()

    def is_out(self, timeout_s: float) -> bool:
        """Wait until so long after it was left, and say whether its thread has ended."""
        self.join(max(0.0, self._left_at + timeout_s - time.monotonic()))
        return not self.is_alive()

    def run(self) -> None:
        """Read until the end, say how it ended, and close: in this order, since closing may hang."""
        _alive.add(self)
        source = None
        try:
            source = self._open_it()
            while not self._left:
                self._step(source)
            end = End("stopped", final=True)
        except SourceEnded:
            end = End("", final=True)
        except SourceLost as lost:
            end = End(str(lost))
        except Exception as error:  # whatever a decoder throws, the stream says so and tries again
            end = End(f"{type(error).__name__}: {whole_line(error)}")
        with self._changed:
            self.end = end
            self._changed.notify_all()
        if source is not None:
            with suppress(Exception):
                source.close()

    def _step(self, source: Source) -> None:
        try:
            picture = source.read()
        except BadFrame as bad:
            if not self._left:
                self._skip()
            self._bad += 1
            if self._bad >= self._tolerated:
                raise SourceLost(f"{self._bad} bad pictures in a row: {bad}") from None
            return
        self._bad = 0
        with self._changed:
            if self._left:
                return
            self._waits_since = None
        self._take(picture)
        with self._changed:
            self._waits_since = time.monotonic()
            self.pictures += 1
            if self.pictures == 1:
                self._changed.notify_all()


def all_out(timeout_s: float) -> bool:
    """Leave every connection of the process; say whether their threads have ended so long after each was left."""
    connections = list(_alive)
    for connection in connections:
        connection.leave()
    return all([connection.is_out(timeout_s) for connection in connections])


@atexit.register
def _wait_for_all() -> None:
    # A daemon thread that is inside a decoder while the interpreter is taken down crashes the process now and then. The
    # timeouts of network sources are short enough for it to come out.
    all_out(_LAST_WAIT_S)
