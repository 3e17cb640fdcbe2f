"""Ctrl-C, a polite kill and a closed terminal are one request: stop in good order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_ONE_REQUEST_S = 5.0  # a shell, a terminal and a service manager send several signals for one request


@contextmanager
def on_stop_signals(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` on SIGINT, SIGTERM and SIGHUP until the block ends.

    A signal that the process was started to ignore stays ignored: SIGINT in the background of a shell script, SIGHUP
    under `nohup`. Signals within five seconds of one that was acted on are not another request, so that they do not
    interrupt the clean-up. Outside the main thread, where Python allows no handlers, nothing changes.

    Args:
        act: runs in the main thread, between two instructions of whatever runs there; may raise.
    """
    before: dict[int, Any] = {}
    pid, acted = os.getpid(), -_ONE_REQUEST_S

    def handle(number: int, frame: Any) -> None:
        nonlocal acted
        if os.getpid() != pid:  # a fork of this process, such as a worker of a data loader
            _default(number, frame)
            return
        now = time.monotonic()
        if now - acted >= _ONE_REQUEST_S:
            acted = now
            if hasattr(signal, "SIGCHLD") and callable(signal.getsignal(signal.SIGCHLD)):
                # torch's handler raises when a worker has died, which the same request may have ended.
                before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            act()

    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set from Python
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _default(number: int, frame: Any) -> None:
    if number == signal.SIGINT:
        signal.default_int_handler(number, frame)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
