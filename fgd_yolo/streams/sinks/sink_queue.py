"""The bounded queue in front of a sink, and the thread that empties it."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, whole_line
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.sinks.sink import Sink, SinkUnavailable
from fgd_yolo.text import shortened, single_line

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_MEGABYTE = 1 << 20
_FAILURES = 100  # in a row: nothing that has failed so often comes back by itself


class SinkQueue:
    """A bounded queue in front of one sink, and the thread that empties it.

    Nothing here blocks or raises, whatever the sink does: a result that finds no room is dropped and counted, at once
    or after the caller's own patience. What a sink raises is counted, and said once per kind; after 100 failures in a
    row, those by `SinkUnavailable` aside, the sink is closed, aloud.

    Args:
        sink: is called from the queue's own thread, and closed by it.
        frames: at most so many results wait.
        megabytes: their pictures and masks are at most so large together.
        on_done: called after each result that the sink took, by the queue's thread; for the age at that moment.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        frames: int = 32,
        megabytes: float = 256,
        on_done: Callable[[Result], None] | None = None,
    ):
        self.sink, self.name = sink, sink.name
        self._frames, self._bytes = frames, int(megabytes * _MEGABYTE)
        self._on_done = on_done
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], Any], Result | None]] = deque()
        self._count = self._size = self._writing = self._failures = self._written = self._skipped = 0
        self._dropped: Counter[str] = Counter()
        self._gaps: set[str] = set()  # streams of which nothing waits behind their gap
        self._said: set[tuple[type, Any]] = set()
        self._patient = True
        self._failure: str | None = None
        self._state = "on"  # on, off (it failed too often), closing, closed, left behind
        self._drain_until = float("inf")
        self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)
        self._thread.start()

    def put(self, result: Result, patience_s: float = 0.0) -> bool:
        """Leave a result for the sink, at once; False if it was dropped, which is then counted by cause.

        Args:
            result: to write.
            patience_s: wait so long for room, as a file can, which has all the time of the world. A sink that takes
                nothing in that time is not waited for again until it has taken something.
        """
        size = result.nbytes
        with self._changed:
            if patience_s and self._patient:
                self._patient = self._changed.wait_for(lambda: self._has_room(size), patience_s)
            return self._take(result, size)

    def offer(self, result: Result) -> bool:
        """Leave a result for the sink as `put` does, unless one who can wait would have to: then do nothing.

        Returns:
            Whether it was left or dropped; if not, `put` with patience waits for room.
        """
        size = result.nbytes
        with self._changed:
            if self._patient and not self._has_room(size):
                return False
            self._take(result, size)
            return True

    def gap(self, stream: str, reason: str) -> None:
        """Leave word of a gap, in order with the results; gaps that follow each other become one."""
        with self._changed:
            if self._state == "on" and stream not in self._gaps:
                self._gaps.add(stream)
                self._waiting.append((0, lambda: self._pass_gap(stream, reason), None))
                self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Let the sink take what waits for half of the time, and close it.

        Returns:
            Whether that was done in time. If not, the thread is left behind and the rest counted as dropped.
        """
        with self._changed:
            if self._state == "on":
                self._state = "closing"
                self._drain_until = time.monotonic() + timeout_s / 2
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            if self._thread.is_alive() and self._state != "left behind":
                self._state = "left behind"
                self._dropped["closed"] += self._forget() + self._writing
                self._writing = 0
                missing = f"it did not stop within {timeout_s:g} s, and what it wrote last may be missing"
                self._failure = self._failure or missing
                self._sum_up()
        return not self._thread.is_alive()

    def snapshot(self) -> dict[str, Any]:
        """Return what happened so far, in plain JSON: name, state, counts, dropped by cause, failure.

        `skipped` are the results that the sink had nothing to do with. `failure` is what it failed at last, None once a
        result was written again.
        """
        with self._changed:
            state = {"closing": "on", "left behind": "closed"}.get(self._state, self._state)
            counts = {"name": self.name, "state": state, "written": self._written, "skipped": self._skipped}
            waiting = {"waiting": self._count + self._writing, "waiting_bytes": self._size}
            dropped = {cause: count for cause, count in self._dropped.items() if count}
            return {**counts, **waiting, "dropped": dropped, "failure": self._failure}

    def _take(self, result: Result, size: int) -> bool:
        cause = self._refusal(size)
        if cause:
            self._dropped[cause] += 1
            return False
        self._gaps.discard(result.frame.stream)
        self._count += 1
        self._size += size
        self._waiting.append((size, lambda: self.sink.write(result), result))
        self._changed.notify_all()
        return True

    def _refusal(self, size: int) -> str | None:
        if self._state != "on":
            return "error" if self._state == "off" else "closed"
        if self._count >= self._frames:
            return "queue full"
        return "too many bytes" if self._size + size > self._bytes else None

    def _has_room(self, size: int) -> bool:
        """Whether waiting is over: half of the queue is free, or there never will be room.

        The other half is for results that cannot wait: files would leave a camera none.
        """
        refusal = self._refusal(size)
        if refusal:
            return refusal not in ("queue full", "too many bytes") or size > self._bytes
        return self._count < (self._frames + 1) // 2 and (2 * (self._size + size) <= self._bytes or not self._size)

    def _pass_gap(self, stream: str, reason: str) -> None:
        with self._changed:
            self._gaps.discard(stream)
        self.sink.gap(stream, reason)

    def _run(self) -> None:
        while item := self._next():
            size, deliver, result = item
            answer, error = _attempt(deliver)
            took = result is not None and error is None and answer is not False
            with self._changed:
                self._settle(size, result, error, took)
                self._changed.notify_all()
            if took and self._on_done:
                self._on_done(result)
        _, error = _attempt(self.sink.close)
        with self._changed:
            if error:
                self._note(error)
            if self._state == "closing":
                self._state = "closed"
                self._sum_up()

    def _next(self) -> tuple[int, Callable[[], Any], Result | None] | None:
        with self._changed:
            while not self._waiting and self._state == "on":
                self._changed.wait()
            if self._state == "closing" and time.monotonic() >= self._drain_until:
                self._dropped["closed"] += self._forget()
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._writing = int(item[2] is not None)
            self._count -= self._writing
            return item

    def _settle(self, size: int, result: Result | None, error: BaseException | None, took: bool) -> None:
        """Count one item that the sink took, skipped or failed at; its bytes were held until now."""
        if self._state == "left behind":  # it is counted already
            return
        self._size -= size
        self._writing = 0
        if took:
            self._written += 1
            self._failures, self._failure, self._patient = 0, None, True
        elif error:
            self._failures += not isinstance(error, SinkUnavailable)
            self._dropped["error"] += result is not None
            self._note(error)
        elif result is not None:  # which mends nothing, as little as a gap does
            self._skipped += 1
        if self._failures >= _FAILURES and self._state == "on":
            self._state = "off"
            self._dropped["error"] += self._forget()
            self._say(f"failed {_FAILURES} times in a row and is switched off; everything else goes on")

    def _forget(self) -> int:
        """Empty the queue; return how many results it held."""
        held = self._count
        self._waiting.clear()
        self._count = self._size = 0
        return held

    def _sum_up(self) -> None:
        """Say at the end what was lost, where the sink failed or the time was over."""
        lost = sum(self._dropped.values())
        if lost and (self._failure or self._dropped["closed"]):
            why = self._failure or "no time was left for the last ones"
            self._say(f"{lost} of {lost + self._written} results were lost: {why}")
        elif self._state == "left behind":
            self._say(self._failure)

    def _note(self, error: BaseException) -> None:
        """Keep why it failed, and say it once per kind."""
        text, kind = whole_line(error), (type(error), getattr(error, "errno", None))
        if not isinstance(error, BrokenPipeError):  # who closes the pipe wants no more
            self._failure = shortened(redact(text))
        if kind not in self._said:
            self._said.add(kind)
            name = "" if isinstance(error, FGDError) else f"{type(error).__name__}: "
            self._say(f"{name}{text} (counted; not said again)")

    def _say(self, sentence: str) -> None:
        line = single_line(redact(f"sink {self.name}: {sentence}"))
        print(shortened(line), file=sys.stderr, flush=True)


def _attempt(action: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return action(), None
    except BaseException as error:  # a callback's sys.exit() too: a dead thread would drop in silence
        return None, error
