"""The bounded queue in front of a sink, and the thread that empties it."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fgd_yolo.errors import FGDError, error_message
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.sinks.sink import Sink, SinkStopped, SinkUnavailable
from fgd_yolo.text import shortened, single_line

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_MEGABYTE = 1 << 20
_MAX_FAILURES = 100  # in a row; what has failed so often does not recover by itself


class SinkQueue:
    """A bounded queue in front of one sink, and the thread that empties it.

    No method blocks longer than its timeout or raises, whatever the sink does. A result that does not fit is dropped
    and counted. Each exception of the sink is counted; each kind of exception is reported once. After 100 failures in
    a row, not counting `SinkUnavailable`, the sink is closed with a message. One that raises `SinkStopped` is closed at
    once; it skips all further results.

    Args:
        sink: the sink, which is called and closed by the queue's own thread.
        frames: limit on the number of results that wait.
        megabytes: limit on the size of their frames and masks together.
        on_done: called by the queue's thread after each result that the sink has written; used to measure ages.
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
        self._gaps: set[str] = set()  # streams whose last item in the queue is a gap
        self._reported: set[tuple[type, Any]] = set()
        self._may_wait = True  # False after a timeout, until the sink has written a result again
        self._failure: str | None = None
        self._stopped: str | None = None  # why the sink takes no more results
        self._state = "on"  # on, off (failed too often), closing, closed, abandoned (did not stop in time)
        self._drain_until = float("inf")
        self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)
        self._thread.start()

    def put(self, result: Result, timeout_s: float = 0.0) -> bool:
        """Queue a result; return False if it was dropped, which is counted by cause.

        Args:
            result: to write.
            timeout_s: how long to wait for room. Files may wait, live streams must not. After a timeout no call waits
                until the sink has written a result again.
        """
        size = result.nbytes
        with self._changed:
            if timeout_s and self._may_wait:
                self._may_wait = self._changed.wait_for(lambda: self._wait_is_over(size), timeout_s)
            return self._append(result, size)

    def offer(self, result: Result) -> bool:
        """Queue a result as `put` does, unless `put` with a timeout would wait: then do nothing.

        Returns:
            Whether the result was queued or dropped. If not, call `put` with a timeout.
        """
        size = result.nbytes
        with self._changed:
            if self._may_wait and not self._wait_is_over(size):
                return False
            self._append(result, size)
            return True

    def gap(self, stream: str, reason: str) -> None:
        """Queue a gap, in order with the results; consecutive gaps of a stream become one."""
        with self._changed:
            if self._state == "on" and stream not in self._gaps:
                self._gaps.add(stream)
                self._waiting.append((0, lambda: self._deliver_gap(stream, reason), None))
                self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Drain the queue for at most half of the timeout, then close the sink.

        Returns:
            Whether the sink was closed in time. If not, its thread is abandoned and the rest is counted as dropped.
        """
        with self._changed:
            if self._state == "on":
                self._state = "closing"
                self._drain_until = time.monotonic() + timeout_s / 2
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            if self._thread.is_alive() and self._state != "abandoned":
                self._state = "abandoned"
                self._dropped["closed"] += self._clear() + self._writing
                self._writing = 0
                timeout = f"it did not stop within {timeout_s:g} s, and the results written last may be missing"
                self._failure = self._failure or timeout
                self._report_losses()
        return not self._thread.is_alive()

    def snapshot(self) -> dict[str, Any]:
        """Return name, state, counts, drops by cause and failure as plain JSON.

        `skipped` counts the results for which `Sink.write` returned False. `failure` is the latest failure, None once a
        result has been written again. `stopped`, which only a sink that stopped by itself has, says why. The entries of
        `Sink.details` follow.
        """
        details = getattr(self.sink, "details", dict)()
        with self._changed:
            state = {"closing": "on", "abandoned": "closed"}.get(self._state, self._state)
            counts = {"name": self.name, "state": state, "written": self._written, "skipped": self._skipped}
            waiting = {"waiting": self._count + self._writing, "waiting_bytes": self._size}
            dropped = {cause: count for cause, count in self._dropped.items() if count}
            stopped = {"stopped": self._stopped} if self._stopped else {}
            return {**counts, **waiting, "dropped": dropped, "failure": self._failure, **stopped, **details}

    def _append(self, result: Result, size: int) -> bool:
        if self._stopped:
            self._skipped += 1
            return False
        cause = self._drop_cause(size)
        if cause:
            self._dropped[cause] += 1
            return False
        self._gaps.discard(result.frame.stream)
        self._count += 1
        self._size += size
        self._waiting.append((size, lambda: self.sink.write(result), result))
        self._changed.notify_all()
        return True

    def _drop_cause(self, size: int) -> str | None:
        """Return why a result of that size would be dropped now, or None if it fits."""
        if self._state != "on":
            return "error" if self._state == "off" else "closed"
        if self._count >= self._frames:
            return "queue full"
        return "too many bytes" if self._size + size > self._bytes else None

    def _wait_is_over(self, size: int) -> bool:
        """Return whether half of the queue is free, or a result of that size will never fit.

        The other half is reserved for results that cannot wait: otherwise files would leave a camera no room.
        """
        cause = self._drop_cause(size)
        if cause:
            return cause not in ("queue full", "too many bytes") or size > self._bytes
        return self._count < (self._frames + 1) // 2 and (2 * (self._size + size) <= self._bytes or not self._size)

    def _deliver_gap(self, stream: str, reason: str) -> None:
        with self._changed:
            self._gaps.discard(stream)
        self.sink.gap(stream, reason)

    def _run(self) -> None:
        while item := self._next():
            size, deliver, result = item
            returned, error = _attempt(deliver)
            written = result is not None and error is None and returned is not False
            with self._changed:
                self._count_outcome(size, result, error, written)
                self._changed.notify_all()
            if written and self._on_done:
                self._on_done(result)
        _, error = _attempt(self.sink.close)
        with self._changed:
            if error:
                self._record_failure(error)
            if self._state == "closing":
                self._state = "closed"
                self._report_losses()

    def _next(self) -> tuple[int, Callable[[], Any], Result | None] | None:
        with self._changed:
            while not self._waiting and self._state == "on":
                self._changed.wait()
            if self._state == "closing" and time.monotonic() >= self._drain_until:
                self._dropped["closed"] += self._clear()
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._writing = int(item[2] is not None)
            self._count -= self._writing
            return item

    def _count_outcome(self, size: int, result: Result | None, error: BaseException | None, written: bool) -> None:
        """Count one item as written, skipped or failed, and release its bytes."""
        if self._state == "abandoned":  # counted by `close`
            return
        self._size -= size
        self._writing = 0
        if written:
            self._written += 1
            self._failures, self._failure, self._may_wait = 0, None, True
        elif isinstance(error, SinkStopped):
            self._stop(error, result)
        elif error:
            self._failures += not isinstance(error, SinkUnavailable)
            self._dropped["error"] += result is not None
            self._record_failure(error)
        elif result is not None:  # a skipped result, like a gap, does not reset the failures
            self._skipped += 1
        if self._failures >= _MAX_FAILURES and self._state == "on":
            self._state = "off"
            self._dropped["error"] += self._clear()
            self._print(f"failed {_MAX_FAILURES} times in a row and is switched off; all other sinks continue")

    def _stop(self, error: SinkStopped, result: Result | None) -> None:
        """Switch the sink off for a reason that it has given; results that wait are skipped."""
        self._stopped = shortened(redact(error_message(error)))
        if error.failed:
            self._failure = self._stopped
        self._dropped["error"] += error.failed and result is not None
        self._skipped += (not error.failed and result is not None) + self._clear()
        self._state = "off" if self._state == "on" else self._state
        self._print(self._stopped)

    def _clear(self) -> int:
        """Empty the queue; return how many results it held."""
        count = self._count
        self._waiting.clear()
        self._count = self._size = 0
        return count

    def _report_losses(self) -> None:
        """Print how many results were lost, if the sink failed or the timeout was too short."""
        lost = sum(self._dropped.values())
        if lost and (self._failure or self._dropped["closed"]):
            reason = self._failure or "no time was left for the last ones"
            self._print(f"{lost} of {lost + self._written} results were lost: {reason}")
        elif self._state == "abandoned":
            self._print(self._failure)

    def _record_failure(self, error: BaseException) -> None:
        """Keep the reason of a failure, and print it once per kind."""
        text, kind = error_message(error), (type(error), getattr(error, "errno", None))
        if not isinstance(error, BrokenPipeError):  # a reader that closes the pipe is no failure
            self._failure = shortened(redact(text))
        if kind not in self._reported:
            self._reported.add(kind)
            name = "" if isinstance(error, FGDError) else f"{type(error).__name__}: "
            self._print(f"{name}{text} (counted; not reported again)")

    def _print(self, message: str) -> None:
        line = single_line(redact(f"sink {self.name}: {message}"))
        print(shortened(line), file=sys.stderr, flush=True)


def _attempt(action: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return action(), None
    except BaseException as error:  # also a callback's sys.exit(): a dead thread would drop results silently
        return None, error
