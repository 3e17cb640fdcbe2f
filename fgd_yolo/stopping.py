"""One way to stop a command: Ctrl-C, SIGTERM and a closed terminal are the same request."""

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
_RETRY_S = 0.1  # until a request that had to wait, or was lost, is repeated
_ONE_REQUEST_S = 5.0  # shells, terminals and service managers send several signals for one request


class StopRequest(KeyboardInterrupt):
    """Raised by the action of `on_stop_signals` to stop the block; unlike its base class it allows weak references."""


@contextmanager
def on_stop_signals(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGINT, SIGTERM and SIGHUP until the block ends.

    A signal that was ignored when the process started stays ignored: SIGINT in the background of a shell script, SIGHUP
    under `nohup`. Further signals within five seconds belong to the same request, so they do not interrupt the
    clean-up. While a module is being imported, the request waits. A `StopRequest` that was lost, because Python ignores
    exceptions in finalizers and callbacks, is repeated. Does nothing outside the main thread, where Python allows no
    handlers.

    Args:
        action: runs in the main thread between two bytecode instructions; may raise `StopRequest`.
    """
    before: dict[int, Any] = {}
    pid, acted, ended = os.getpid(), -_ONE_REQUEST_S, False

    def repeat(number: int) -> None:
        if not ended:
            os.kill(pid, number)

    def repeat_later(number: int) -> None:
        again = threading.Timer(_RETRY_S, repeat, (number,))
        again.daemon = True
        again.start()

    def lost(number: int) -> None:
        nonlocal acted
        acted = -_ONE_REQUEST_S
        repeat_later(number)

    def handle(number: int, frame: Any) -> None:
        nonlocal acted
        if os.getpid() != pid:  # a forked child, such as a data loader worker
            _default(number, frame)
            return
        if _is_importing(frame):
            repeat_later(number)
            return
        now = time.monotonic()
        if now - acted >= _ONE_REQUEST_S:
            acted = now
            if hasattr(signal, "SIGCHLD") and callable(signal.getsignal(signal.SIGCHLD)):
                # torch's handler raises if a worker died, perhaps of the same request.
                before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                action()
            except StopRequest as request:
                # The exception is freed too early only if it was ignored.
                weakref.finalize(request, lost, number).atexit = False
                raise

    unraisable = sys.unraisablehook

    def report(found: Any) -> None:
        if not isinstance(found.exc_value, StopRequest):
            unraisable(found)

    if threading.current_thread() is threading.main_thread():
        sys.unraisablehook = report
        for number in STOP_SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set from Python
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        ended = True
        if sys.unraisablehook is report:
            sys.unraisablehook = unraisable
        for number, handler in before.items():
            signal.signal(number, handler)


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
