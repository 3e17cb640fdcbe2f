"""A beat from each process: when one fails or falls silent, all others end with one line that names it.

A process that waits for another in a collective operation would wait for hours, and then raise an error that names
neither the process nor the reason.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from fgd_yolo.distributed.world import World
from fgd_yolo.errors import error_message
from fgd_yolo.files import machine_id, process_start
from fgd_yolo.text import shortened

INTERVAL_S = 1.0
SILENT_S = 40.0
_BEATS_AFTER_CLOSE = 10
_ACKNOWLEDGED_S = 5.0  # that a failed process waits until the others have read why
EXIT_CODE = 1
_STOPPED = "was stopped"


class Member(NamedTuple):
    """A process of the group.

    Args:
        rank: its rank.
        host: name of its machine.
        machine: digest of its machine and PID namespace.
        pid: its process id.
        start: when it started, as `process_start` has it; None where that is not known.
    """

    rank: int
    host: str
    machine: str
    pid: int
    start: str | None

    @classmethod
    def this(cls, world: World) -> Member:
        """Return the member that this process is."""
        return cls(world.rank, platform.node(), machine_id(), os.getpid(), process_start(os.getpid()))

    def to_json(self) -> str:
        """Return the member as text."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Member:
        """Return the member that `to_json` has written."""
        return cls(*json.loads(text))

    def __str__(self) -> str:
        return f"rank {self.rank} (process {self.pid} on {self.host})"

    @property
    def is_gone(self) -> bool:
        """Whether the process certainly runs no more, which only its own machine can tell."""
        return self.machine == machine_id() and self.start is not None and process_start(self.pid) != self.start


class Heartbeat:
    """Counts the beats of this process in a store, and watches those of the others, in two daemon threads.

    One thread talks to the store; the other watches the first, since a store on a machine that was unplugged never
    answers.

    Args:
        store: `torch.distributed.Store` that all processes share, over a connection that nothing else uses.
        members: all processes, by rank.
        rank: that of this process.
        interval_s: seconds between two beats.
        silent_s: seconds without a beat after which a process counts as failed.
        end: called with the line when another process has failed; returns never, except in tests.
    """

    def __init__(
        self,
        store,
        members: Sequence[Member],
        rank: int,
        *,
        interval_s: float = INTERVAL_S,
        silent_s: float = SILENT_S,
        end: Callable[[str], None] | None = None,
    ):
        self._store, self._members, self._rank = store, list(members), rank
        self._interval_s, self._silent_s = interval_s, silent_s
        self._end = end or end_process
        self._others = [member for member in self._members if member.rank != rank]
        self._left: set[int] = set()
        now = time.monotonic()
        self._beats = {member.rank: (0, now) for member in self._others}  # latest count, and when it was new
        self._answered_at = now  # when the store last answered
        self._stopped = threading.Event()
        self._ending = threading.RLock()  # held while this process ends, so that its error is not printed as well

    def start(self) -> None:
        """Start both threads."""
        for action in (self._beat, self._watch):
            threading.Thread(target=action, name=f"heartbeat-{action.__name__}", daemon=True).start()

    def fail(self, error: BaseException) -> None:
        """Tell the other processes that this one ends with an error, and wait a moment until they have read it.

        If another process has failed before, which is then the reason of this error, this process ends here with the
        line that names it.
        """
        if _is_consequence(error):
            # A connection closes at once when its process ends, so a short silence tells which one it was.
            self._silent_s = min(self._silent_s, _BEATS_AFTER_CLOSE * self._interval_s)
        until = time.monotonic() + (self._silent_s if _is_consequence(error) else 0) + 2 * self._interval_s
        # Stop requests do not interrupt: torchrun sends one to all processes as soon as one has ended, and the threads
        # find out which.
        while not self._stopped.is_set() and time.monotonic() < until:
            with suppress(KeyboardInterrupt):
                self._stopped.wait(until - time.monotonic())
        acquired = False
        while not acquired:
            with suppress(KeyboardInterrupt):
                acquired = self._ending.acquire()
        with suppress(Exception):  # without the store, the others notice the silence
            if not self._stopped.is_set():
                self._tell(error)
        self._ending.release()

    def _tell(self, error: BaseException) -> None:
        self._stopped.set()
        stopped = isinstance(error, KeyboardInterrupt)
        what = _STOPPED if stopped else f"failed: {error_message(error)}"
        first = self._store.compare_set("failed", "", shortened(f"{self._members[self._rank]} {what}")).decode()
        if not first.startswith(f"rank {self._rank} ") and not (stopped and first.endswith(_STOPPED)):
            self._end(first)
        self._wait_for("ended", _ACKNOWLEDGED_S)

    def stop(self) -> None:
        """Stop the threads, so that the others no longer expect beats."""
        if not self._stopped.is_set():
            self._stopped.set()
            with suppress(Exception):
                self._store.add(f"left/{self._rank}", 1)
                self._store.add("left", 1)

    def wait_until_all_left(self, timeout_s: float) -> None:
        """Wait until all others have called `stop`, if this process is the one that keeps the store."""
        with suppress(Exception):
            self._wait_for("left", timeout_s, len(self._members))

    def _wait_for(self, key: str, timeout_s: float, count: int | None = None) -> None:
        count = len(self._others) - len(self._left) if count is None else count
        until = time.monotonic() + timeout_s
        while self._store.add(key, 0) < count and time.monotonic() < until:
            time.sleep(self._interval_s / 10)

    def _beat(self) -> None:
        while not self._stopped.is_set():
            try:
                self._store.add(f"beat/{self._rank}", 1)
                self._raise_alarm()
                self._answered_at = time.monotonic()
            except Exception as error:  # the store's machine or process is gone
                if not self._stopped.is_set():
                    self._finish(f"{self._members[0]} is gone: its store does not answer ({error_message(error)})")
            self._stopped.wait(self._interval_s)

    def _watch(self) -> None:
        while not self._stopped.wait(self._interval_s):
            if time.monotonic() - self._answered_at > self._silent_s:
                self._finish(f"{self._members[0]} is gone: its store has not answered for {self._silent_s:.0f} s")

    def _raise_alarm(self) -> None:
        """End this process if another one has failed, has ended or is silent."""
        if self._store.check(["failed"]):
            self._finish(self._store.get("failed").decode())
            return
        now = time.monotonic()
        for member in self._others:
            if member.rank in self._left:
                continue
            count, since = self._beats[member.rank]
            latest = self._store.add(f"beat/{member.rank}", 0)
            if latest != count:
                self._beats[member.rank] = latest, now
            is_gone, is_silent = member.is_gone, latest == count and now - since > self._silent_s
            if not is_gone and not is_silent:
                continue
            if self._store.add(f"left/{member.rank}", 0):
                self._left.add(member.rank)
            elif is_gone:
                self._finish(f"{member} was killed or has crashed")
            else:
                self._finish(f"{member} has been silent for {self._silent_s:.0f} s: stuck, or its machine is gone")

    def _finish(self, line: str) -> None:
        with self._ending:
            if self._stopped.is_set():
                return
            self._stopped.set()
            with suppress(Exception):
                self._store.compare_set("failed", "", shortened(line))
                self._store.add("ended", 1)
            if self._rank == 0:
                time.sleep(2 * self._interval_s)  # this process may keep the store: the others read the line first
            self._end(line)


_current: Heartbeat | None = None
_advice = ""  # behind the line of `end_process`


def begin(heartbeat: Heartbeat) -> None:
    """Start a heartbeat as the one of this process."""
    global _current
    _current = heartbeat
    heartbeat.start()


def current() -> Heartbeat | None:
    """Return the heartbeat of this process, or None if it trains alone."""
    return _current


def finish() -> None:
    """Stop the heartbeat of this process."""
    global _current
    if _current is not None:
        _current.stop()
        _current = None


@contextmanager
def reported() -> Iterator[None]:
    """Tell the other processes of an exception that leaves the block; does nothing if this process trains alone."""
    try:
        yield
    except BaseException as error:
        if _current is not None and not (isinstance(error, SystemExit) and not error.code):
            _current.fail(error)
        raise


def advise(text: str) -> None:
    """Let the line with which this process ends, when another one has failed, say what to do then."""
    global _advice
    _advice = text


def end_process(line: str) -> None:
    """Print a line and end this process, whatever its other threads wait for."""
    with suppress(Exception):
        print(f"error: {shortened(line)}; this process ends too{_advice}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(EXIT_CODE)


def _is_consequence(error: BaseException) -> bool:
    """Return whether an error of torch says no more than that a connection to another process has ended."""
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in _BROKEN)


_BROKEN = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused"),
    *("NCCL communicator was aborted", "ncclRemoteError", "Read error", "Write error"),
)
