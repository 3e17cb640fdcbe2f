"""Reads one stream from its source, and reopens a source that is lost or hangs, with a backoff."""

from __future__ import annotations

import atexit
import math
import random
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from fgd_yolo.errors import error_message
from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.streams import sources
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.log import log
from fgd_yolo.streams.sources import BadFrame, Source, SourceEnded, SourceFrame, SourceLost, is_live
from fgd_yolo.streams.stats import StreamStats
from fgd_yolo.text import shortened, single_line

_FIRST_STALL_S = 20.0  # a camera may have to start, and its key frames may be far apart
_STEADY_FRAMES = 25  # a connection with as many frames was stable: after its loss the backoff starts again
_MAX_BAD_LIVE, _MAX_BAD_FILE = 10, 1000  # bad frames in a row
_MAX_HANGING = 3  # connections that hang at a time
_RETRY_CHECK_S = 0.5
_EXIT_TIMEOUT_S = 4.5
_MAX_DOUBLINGS = 30  # more would overflow after days of retries

_connections: weakref.WeakSet[Connection] = weakref.WeakSet()  # all of the process


class Backoff:
    """Waiting times that double up to a limit, each shortened at random, so that cameras do not all retry at once.

    Args:
        first_s: the longest first wait.
        max_s: the longest wait of all.
        seed: equal seeds give equal waits.
    """

    def __init__(self, first_s: float, max_s: float, seed: int):
        self._first_s, self._max_s = first_s, max_s
        self._random = random.Random(seed)
        self._attempts = 0

    def next_s(self) -> float:
        """Return the next wait: between half of its step and all of it."""
        step_s = min(self._max_s, self._first_s * 2 ** min(self._attempts, _MAX_DOUBLINGS))
        self._attempts += 1
        return step_s * self._random.uniform(0.5, 1)

    def reset(self) -> None:
        """Start again with the first step."""
        self._attempts = 0


class End(NamedTuple):
    """How a connection ended; nothing follows a `final` end."""

    reason: str
    final: bool = False


class Connection(threading.Thread):
    """Opens a source once and reads it until it ends, is lost or is abandoned.

    A thread that is blocked in a camera's driver cannot be woken, and closing the camera from another thread crashes
    the process. So a connection that hangs is abandoned: nothing it delivers is used any more, and it closes its own
    source when it wakes.

    Args:
        name: the stream's name.
        open_source: returns the opened source.
        on_frame: called with every frame; may block, which does not count as the camera's silence.
        on_bad_frame: called for every frame that cannot be decoded.
        max_bad: number of bad frames in a row after which the source counts as lost.
        changed: guards the state that the reader watches, and is notified when that changes.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], Source],
        on_frame: Callable[[SourceFrame], object],
        on_bad_frame: Callable[[], object],
        max_bad: int,
        changed: threading.Condition,
    ):
        super().__init__(name=f"stream {name}", daemon=True)
        self._open_source, self._on_frame, self._on_bad_frame = open_source, on_frame, on_bad_frame
        self._max_bad = max_bad
        self._changed = changed
        self._abandoned = False
        self._abandoned_at = float("inf")
        self._waits_since: float | None = time.monotonic()
        self._bad = 0
        self.frames = 0
        self.end: End | None = None

    def silent_s(self) -> float:
        """Return how long it has waited for a good frame; 0 while it hands one over. Call it with `changed` held."""
        return 0.0 if self._waits_since is None else time.monotonic() - self._waits_since

    def abandon(self) -> None:
        """Ignore what it delivers from now on. Call it with `changed` held, except at the end of the process."""
        if not self._abandoned:
            self._abandoned, self._abandoned_at = True, time.monotonic()

    def wait_until_closed(self, timeout_s: float) -> bool:
        """Wait until `timeout_s` after it was abandoned; return whether its thread has ended."""
        self.join(max(0.0, self._abandoned_at + timeout_s - time.monotonic()))
        return not self.is_alive()

    def run(self) -> None:
        """Read until the end, publish how it ended, then close the source: in this order, since closing may hang."""
        _connections.add(self)
        source = None
        try:
            source = self._open_source()
            while not self._abandoned:
                self._read(source)
            end = End("stopped", final=True)
        except SourceEnded:
            end = End("", final=True)
        except SourceLost as lost:
            end = End(str(lost))
        except Exception as error:  # whatever a decoder raises, the stream reports it and tries again
            end = End(f"{type(error).__name__}: {error_message(error)}")
        with self._changed:
            self.end = end
            self._changed.notify_all()
        if source is not None:
            with suppress(Exception):
                source.close()

    def _read(self, source: Source) -> None:
        try:
            frame = source.read()
        except BadFrame as bad:
            if not self._abandoned:
                self._on_bad_frame()
            self._bad += 1
            if self._bad >= self._max_bad:
                raise SourceLost(f"{self._bad} bad frames in a row: {bad}") from None
            return
        self._bad = 0
        with self._changed:
            if self._abandoned:
                return
            self._waits_since = None
        self._on_frame(frame)
        with self._changed:
            self._waits_since = time.monotonic()
            self.frames += 1
            if self.frames == 1:
                self._changed.notify_all()


def close_all_connections(timeout_s: float) -> bool:
    """Abandon every connection of the process; return whether each has closed within `timeout_s` of that."""
    connections = list(_connections)
    for connection in connections:
        connection.abandon()
    return all([connection.wait_until_closed(timeout_s) for connection in connections])


@atexit.register
def _close_all_at_exit() -> None:
    # A daemon thread that is inside a decoder while the interpreter shuts down crashes the process now and then. The
    # timeouts of network sources are short enough for it to return.
    close_all_connections(_EXIT_TIMEOUT_S)


class Reader:
    """Reads a stream in background threads until it ends or is stopped.

    One thread reads. Another one watches it: it marks the stream DOWN after `stall_s` without a frame, abandons a
    connection that hangs and opens a new one. A file is read once, and never abandoned for being slow.

    Convention:
        `Frame.index` continues over reconnects; `Frame.pts` starts again at 0 with each.
    Args:
        name: the stream's name.
        address: the address of its source, as `open_source` takes it.
        on_frame: called with every frame; it may block, which makes a file wait.
        stats: gets states, reconnects and bad frames; reasons hold no secrets.
        stall_s: seconds without a frame after which the stream is DOWN.
        backoff: the longest first wait, and the longest of all, in seconds.
        budget: the pixel budget of all streams; the default one if absent.
        channels: number of channels that the model takes.
        open_source: opens an address, instead of `sources.open_source`.
    """

    def __init__(
        self,
        name: str,
        address: str | int,
        on_frame: Callable[[Frame], object],
        stats: StreamStats,
        *,
        stall_s: float = 3.0,
        backoff: tuple[float, float] = (0.2, 10.0),
        budget: PixelBudget | None = None,
        channels: int = 3,
        open_source: Callable[..., Source] | None = None,
    ):
        self.name, self._address = name, address
        self._on_frame, self._stats = on_frame, stats
        budget = budget or PixelBudget()
        self._open_source = open_source or partial(sources.open_source, budget=budget, channels=channels)
        self._live, self._stall_s = is_live(address), stall_s
        self._backoff = Backoff(*backoff, seed=zlib.crc32(name.encode()))
        # Never held while `on_frame` or the statistics are called, whose locks others hold when they call stop().
        self._changed = threading.Condition()
        self._stopped = False
        self._connections: list[Connection] = []
        self._index = 0
        self._was_up = False
        self._watcher = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)

    @property
    def reading_threads(self) -> int:
        """How many of its threads currently read or hang; bounded."""
        return sum(connection.is_alive() for connection in self._connections)

    def start(self) -> None:
        """Start to read; a source that cannot be opened is retried."""
        self._watcher.start()

    def stop(self) -> None:
        """Stop reading. Returns at once, whatever the camera does; its threads end as soon as they wake."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until no more frames can come; return whether that is so."""
        self._watcher.join(timeout_s)
        return not self._watcher.is_alive()

    def _watch(self) -> None:
        end = End("")
        while not end.final:
            end = self._follow(self._connect())
            if end.final or not self._live:
                break
            self._set_state("DOWN", end.reason)
            end = self._back_off(end)
        self._set_state("ENDED", end.reason)

    def _connect(self) -> Connection:
        connection = Connection(
            self.name,
            lambda: self._open_source(self._address, timeout_s=self._stall_s),
            self._pass_on,
            self._stats.count_bad_frame,
            _MAX_BAD_LIVE if self._live else _MAX_BAD_FILE,
            self._changed,
        )
        self._connections = [old for old in self._connections if old.is_alive()] + [connection]
        connection.start()
        return connection

    def _follow(self, connection: Connection) -> End:
        """Watch a connection until it ends, hangs or is stopped."""
        up = False
        while True:
            with self._changed:
                silent_s = connection.silent_s()
                end = self._end_of(connection, silent_s)
                first_frame = connection.frames > 0 and not up
                late = self._live and silent_s >= self._stall_s and self._stats.state == "CONNECTING"
                if not (end or first_frame or late):
                    self._changed.wait(self._next_check_s(connection, silent_s))
                    continue
            if first_frame:
                up = True
                self._set_state("UP")
            if end:
                if connection.frames >= _STEADY_FRAMES:
                    self._backoff.reset()
                return end
            if late:
                self._set_state("DOWN", f"no frame for {self._stall_s:g} s")

    def _end_of(self, connection: Connection, silent_s: float) -> End | None:
        if self._stopped:
            connection.abandon()
            return End("stopped", final=True)
        if connection.end:
            return connection.end
        if silent_s >= self._timeout_s(connection):
            connection.abandon()
            return End(f"no frame for {silent_s:.1f} s")
        return None

    def _timeout_s(self, connection: Connection) -> float:
        if not self._live:
            return math.inf
        return self._stall_s if connection.frames else max(self._stall_s, _FIRST_STALL_S)

    def _next_check_s(self, connection: Connection, silent_s: float) -> float:
        """Return the time until the next deadline: a frame moves the deadline, but does not wake the watcher."""
        deadline_s = self._stall_s if silent_s < self._stall_s else self._timeout_s(connection)
        return min(max(deadline_s - silent_s, 0.001), self._stall_s)

    def _back_off(self, end: End) -> End:
        """Wait before the next attempt, and until few enough of the earlier connections hang."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, self._backoff.next_s())
        while not self._stopped and self.reading_threads >= _MAX_HANGING:
            self._set_state("DOWN", f"{end.reason}; {self.reading_threads} attempts hang")
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, _RETRY_CHECK_S)
        return End("stopped", final=True) if self._stopped else end

    def _pass_on(self, source_frame: SourceFrame) -> None:
        frame = Frame(self.name, self._index, *source_frame)
        self._index += 1
        self._on_frame(frame)

    def _set_state(self, state: str, reason: str = "") -> None:
        """Set the state and log a change. Only the watcher calls this, so that states come in order."""
        reason = shortened(single_line(redact(reason, self._address)))
        changed = state != self._stats.state
        if state == "UP":
            if self._was_up:
                self._stats.count_reconnect()
            self._was_up = True
        self._stats.set_state(state, reason)
        if changed:
            log(self.name, f"{state}, {reason}" if reason else state)
