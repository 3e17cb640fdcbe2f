"""Ctrl-C, a polite kill and a closed terminal are one request: stop in good order."""

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
_RETRY_S = 0.1  # until a request that could not be made, or was lost, is made again
_ONE_REQUEST_S = 5.0  # a shell, a terminal and a service manager send several signals for one request


class StopRequest(KeyboardInterrupt):
    """What `act` of `on_stop_signals` raises to stop the block. Unlike its base class it allows weak references."""


@contextmanager
def on_stop_signals(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` on SIGINT, SIGTERM and SIGHUP until the block ends.

    A signal that the process was started to ignore stays ignored: SIGINT in the background of a shell script, SIGHUP
    under `nohup`. Signals within five seconds of one that was acted on are not another request, so that they do not
    interrupt the clean-up. While a module is being loaded the request waits until it is. A `StopRequest` that was lost,
    because Python ignores what is raised in a finalizer or a callback, is made again. Outside the main thread, where
    Python allows no handlers, nothing changes.

    Args:
        act: runs in the main thread, between two instructions of whatever runs there; may raise `StopRequest`.
    """
    before: dict[int, Any] = {}
    pid, acted, ended = os.getpid(), -_ONE_REQUEST_S, False

    def ask_again(number: int) -> None:
        if not ended:
            os.kill(pid, number)

    def ask_later(number: int) -> None:
        again = threading.Timer(_RETRY_S, ask_again, (number,))
        again.daemon = True
        again.start()

    def lost(number: int) -> None:
        nonlocal acted
        acted = -_ONE_REQUEST_S
        ask_later(number)

    def handle(number: int, frame: Any) -> None:
        nonlocal acted
        if os.getpid() != pid:  # a fork of this process, such as a worker of a data loader
            _default(number, frame)
            return
        if _loads_a_module(frame):
            ask_later(number)
            return
        now = time.monotonic()
        if now - acted >= _ONE_REQUEST_S:
            acted = now
            if hasattr(signal, "SIGCHLD") and callable(signal.getsignal(signal.SIGCHLD)):
                # torch's handler raises when a worker has died, which the same request may have ended.
                before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                act()
            except StopRequest as request:
                # It lives as long as it, or what was raised because of it, is on its way.
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


def _loads_a_module(frame: FrameType | None) -> bool:
    """Return whether the frame is part of an import.

    A module written in C++ makes an ImportError of an exception, and whoever can do without the module goes on: the
    request would be lost.
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
