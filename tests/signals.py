"""Signals of the processes that tests start; a test run in the background of a shell passes on an ignored SIGINT."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def default_signals() -> None:
    """Restore the default action of the stop signals, which this process may ignore: a `preexec_fn`."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def ignoring(*numbers: int) -> Callable[[], None]:
    """Return a `preexec_fn` for a process that ignores these signals, as with `nohup` or `&` in a script."""

    def prepare() -> None:
        default_signals()
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return prepare


def wait_until_caught(process: subprocess.Popen, number: int) -> None:
    """Wait until a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status")
    end = time.monotonic() + 60
    while not _mask(status.read_text(), "SigCgt") >> (number - 1) & 1:
        assert process.poll() is None and time.monotonic() < end, "it has no handler"
        time.sleep(0.002)


def _mask(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1], 16)
