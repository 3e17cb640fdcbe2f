"""Keeping one stream open: notice when it is lost or hangs, back off, open it again. Nobody waits for a camera."""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Callable
from functools import partial

from fgd_yolo.runtime.budget import Budget
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.backoff import Backoff
from fgd_yolo.streams.connection import Connection, End
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.say import say
from fgd_yolo.streams.scheduling.mailbox import Mailbox
from fgd_yolo.streams.sources import Picture, Source, is_live, open_source
from fgd_yolo.streams.stats import StreamStats
from fgd_yolo.text import shortened, single_line

_FIRST_PICTURE_S = 20.0  # a camera may have to start, and its key frames be far apart
_STEADY = 25  # so many pictures, and the next loss is a new one: the back-off begins again
_BAD_IN_A_ROW, _BAD_IN_A_FILE = 10, 1000
_LEFT_BEHIND = 3
_LOOK_S = 0.5


class Reader:
    """Reads a stream into its mailbox, in threads of its own, until it ends or is stopped.

    One thread reads; another watches it, marks the stream DOWN as soon as no picture came for `stall_s`, leaves a
    reader that hangs behind and starts a new one. A file is read once, and never given up for being slow.

    Convention:
        `Frame.index` goes on over reconnects; `Frame.pts` starts again at 0 with each.
    Args:
        name: of the stream.
        address: as `open_source` takes it.
        mailbox: gets every frame.
        stats: gets states, reconnects and bad frames; reasons hold no secrets.
        stall_s: without a picture for so long the stream is DOWN.
        backoff: the longest first wait, and the longest of all, in seconds.
        on_frame: gets every frame before the mailbox does.
        budget: of the pictures of all streams; the default one if absent.
        open_it: opens an address, instead of `open_source`.
    """

    def __init__(
        self,
        name: str,
        address: str | int,
        mailbox: Mailbox,
        stats: StreamStats,
        *,
        stall_s: float = 3.0,
        backoff: tuple[float, float] = (0.2, 10.0),
        on_frame: Callable[[Frame], object] | None = None,
        budget: Budget | None = None,
        open_it: Callable[..., Source] | None = None,
    ):
        self.name, self._address = name, address
        self._mailbox, self._stats, self._on_frame = mailbox, stats, on_frame
        self._open_it = open_it or partial(open_source, budget=budget or Budget())
        self._live, self._stall_s = is_live(address), stall_s
        self._backoff = Backoff(*backoff, seed=zlib.crc32(name.encode()))
        # Never held while the mailbox or the statistics are called, whose locks others hold when they call stop().
        self._changed = threading.Condition()
        self._stopped = False
        self._connections: list[Connection] = []
        self._index = 0
        self._was_up = False
        self._watcher = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)

    @property
    def reading_threads(self) -> int:
        """How many threads of it read or hang at the moment; bounded."""
        return sum(connection.is_alive() for connection in self._connections)

    def start(self) -> None:
        """Begin to read; a source that cannot be opened is tried again."""
        self._watcher.start()

    def stop(self) -> None:
        """Stop reading. Returns at once, whatever the camera does; its threads end as soon as they wake."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing more comes from it, and say whether that is so."""
        self._watcher.join(timeout_s)
        return not self._watcher.is_alive()

    def _watch(self) -> None:
        end = End("")
        while not end.final:
            end = self._follow(self._connect())
            if end.final or not self._live:
                break
            self._set("DOWN", end.reason)
            end = self._pause(end)
        self._set("ENDED", end.reason)

    def _connect(self) -> Connection:
        connection = Connection(
            self.name,
            lambda: self._open_it(self._address, timeout_s=self._stall_s),
            self._take,
            self._stats.count_bad_frame,
            _BAD_IN_A_ROW if self._live else _BAD_IN_A_FILE,
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
                fresh = connection.pictures > 0 and not up
                late = self._live and silent_s >= self._stall_s and self._stats.state == "CONNECTING"
                if not (end or fresh or late):
                    self._changed.wait(self._next_look_s(connection, silent_s))
                    continue
            if fresh:
                up = True
                self._set("UP")
            if end:
                if connection.pictures >= _STEADY:
                    self._backoff.reset()
                return end
            if late:
                self._set("DOWN", f"no picture for {self._stall_s:g} s")

    def _end_of(self, connection: Connection, silent_s: float) -> End | None:
        if self._stopped:
            connection.leave()
            return End("stopped", final=True)
        if connection.end:
            return connection.end
        if silent_s >= self._limit_s(connection):
            connection.leave()
            return End(f"no picture for {silent_s:.1f} s")
        return None

    def _limit_s(self, connection: Connection) -> float:
        if not self._live:
            return math.inf
        return self._stall_s if connection.pictures else max(self._stall_s, _FIRST_PICTURE_S)

    def _next_look_s(self, connection: Connection, silent_s: float) -> float:
        """The time until the next deadline: a picture that comes moves it, but wakes nobody."""
        deadline_s = self._stall_s if silent_s < self._stall_s else self._limit_s(connection)
        return min(max(deadline_s - silent_s, 0.001), self._stall_s)

    def _pause(self, end: End) -> End:
        """Wait before the next attempt, also until few enough earlier ones hang."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, self._backoff.next_s())
        while not self._stopped and self.reading_threads >= _LEFT_BEHIND:
            self._set("DOWN", f"{end.reason}; {self.reading_threads} attempts hang")
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, _LOOK_S)
        return End("stopped", final=True) if self._stopped else end

    def _take(self, picture: Picture) -> None:
        frame = Frame(self.name, self._index, *picture)
        self._index += 1
        if self._on_frame:
            self._on_frame(frame)
        self._mailbox.put(frame)

    def _set(self, state: str, reason: str = "") -> None:
        """Only the watcher calls this, so that states come in order; one line for each change."""
        reason = shortened(single_line(redact(reason, self._address)))
        changed = state != self._stats.state
        if state == "UP":
            if self._was_up:
                self._stats.count_reconnect()
            self._was_up = True
        self._stats.set_state(state, reason)
        if changed:
            say(self.name, f"{state}, {reason}" if reason else state)
