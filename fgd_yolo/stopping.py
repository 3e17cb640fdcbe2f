"""Treat Ctrl-C, SIGTERM and a closed terminal as the same request to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_RETRY_S = 0.1  # until a delayed or lost request is repeated
_ONE_REQUEST_S = 5.0  # shells, terminals and service managers send several signals for one request


class StopRequest(KeyboardInterrupt):
    """Raised by the action of `on_stop_signals` to stop its block; unlike the base class it allows weak references."""


@contextmanager
def on_stop_signals(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGINT, SIGTERM and SIGHUP until the block ends.

    A signal that was ignored when the process started stays ignored: SIGINT in the background of a shell script, SIGHUP
    under `nohup`. Further signals within five seconds belong to the same request, so they do not interrupt the
    clean-up. While a module is being imported, the request waits. A `StopRequest` that was lost, because Python ignores
    exceptions in finalizers and callbacks, is repeated. Does nothing outside the main thread, where Python allows no
    handlers.

    Args:
        action: function that runs in the main thread between two bytecode instructions; may raise `StopRequest`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _StopHandler(action)
    handler.install()
    try:
        yield
    finally:
        handler.remove()


class _StopHandler:
    """Handler of the stop signals of this process; hides the report of a `StopRequest` that Python ignored."""

    def __init__(self, action: Callable[[], None]):
        self._action = action
        self._pid = os.getpid()
        self._previous: dict[int, Any] = {}
        self._unraisable_hook = sys.unraisablehook
        self._handled_at = -_ONE_REQUEST_S
        self._removed = False

    def install(self) -> None:
        sys.unraisablehook = self._report
        for number in STOP_SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set from Python
                self._previous[number] = signal.signal(number, self._handle)

    def remove(self) -> None:
        self._removed = True
        if sys.unraisablehook == self._report:
            sys.unraisablehook = self._unraisable_hook
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid:  # a forked child, such as a data loader worker
            _default(number, frame)
            return
        if _is_importing(frame):
            self._repeat_later(number)
            return
        now = time.monotonic()
        if now - self._handled_at < _ONE_REQUEST_S:
            return
        self._handled_at = now
        if hasattr(signal, "SIGCHLD") and callable(signal.getsignal(signal.SIGCHLD)):
            # torch's handler raises if a data loader worker died, perhaps of the same request.
            self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            self._action()
        except StopRequest as request:
            # The exception is freed before the block ends only if it was ignored.
            weakref.finalize(request, self._lost, number).atexit = False
            raise

    def _lost(self, number: int) -> None:
        self._handled_at = -_ONE_REQUEST_S
        self._repeat_later(number)

    def _repeat_later(self, number: int) -> None:
        timer = threading.Timer(_RETRY_S, self._repeat, (number,))
        timer.daemon = True
        timer.start()

    def _repeat(self, number: int) -> None:
        if not self._removed:
            os.kill(self._pid, number)

    def _report(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, StopRequest):
            self._unraisable_hook(unraisable)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether the frame is part of an import.

    A C++ module turns any exception into an ImportError, and code that can do without the module continues: the request
    would be lost.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False


def _default(number: int, frame: Any) -> None:
    if number == signal.SIGINT:
        signal.default_int_handler(number, frame)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
