"""Runs in processes of their own, so many at a time; whatever happens here, none of them outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from fgd_yolo.compare.job import LOG, Job, write_job
from fgd_yolo.console import print_status

_LOOK_S = 0.2
_PATIENCE_S = 10.0
_OFFLINE = {"YOLO_OFFLINE": "true"}  # all files are there: the host must not look for others


class Ended(NamedTuple):
    """A run whose process has ended."""

    job: Job
    code: int
    seconds: float


class Processes:
    """Makes runs; iterating over it gives each as it ends, and leaving its block ends those that are left.

    Args:
        jobs: runs to make, in this order.
        at_once: how many processes may run side by side.
    """

    def __init__(self, jobs: Sequence[Job], at_once: int):
        self.jobs, self.at_once = jobs, at_once
        self._running: dict[subprocess.Popen, tuple[Job, float]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Ended]:
        waiting = deque(self.jobs)
        while waiting or self._running:
            while waiting and len(self._running) < self.at_once:
                self._start(waiting.popleft())
            ended = [process for process in self._running if process.poll() is not None]
            for process in ended:
                job, began = self._running.pop(process)
                process.stdin.close()
                yield Ended(job, process.returncode, time.monotonic() - began)
            if not ended:
                time.sleep(_LOOK_S)

    def _start(self, job: Job) -> None:
        write_job(job)
        print_status(f"started {job.planned.name}")
        with (job.place / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fgd_yolo.compare.worker", str(job.place)],
                stdin=subprocess.PIPE,  # its end tells the run that this process is gone
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops them
                env={**os.environ, **_OFFLINE},
            )
        self._running[process] = (job, time.monotonic())

    def stop(self) -> None:
        """End every process that still runs, and the loaders that it has started."""
        for process in self._running:
            _signal(process, signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
            process.stdin.close()
        self._running.clear()


def _signal(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def why(ended: Ended) -> str:
    """Return why a run failed: the signal that ended it, or the last line of its log."""
    if ended.code < 0:
        return f"it was ended by {signal.Signals(-ended.code).name}, perhaps for want of memory"
    lines = (ended.job.place / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
