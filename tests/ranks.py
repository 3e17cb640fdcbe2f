"""Several ranks in tests: processes of this machine that torchrun starts, or threads of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from fgd_yolo.distributed.world import current_world
from fgd_yolo.errors import FGDError

ROOT = Path(__file__).parents[1]


def torchrun(script: Path, processes: int, *words: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess:
    """Run a Python script in several processes, and return when all have ended."""
    agent = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, "-m", *agent, str(script), *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


class SumOfThreads:
    """The sum of a tensor over ranks that are threads of `in_threads`; as `all_reduce` does, it also changes it."""

    def __init__(self, count: int):
        self.values, self.barrier = [torch.zeros(())] * count, threading.Barrier(count)

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        self.values[int(threading.current_thread().name)] = value.clone()
        self.barrier.wait(60)
        total = torch.stack(self.values).sum(dim=0)
        self.barrier.wait(60)
        return value.copy_(total)


def in_threads(action: Callable[[Any, int], None], subjects: Sequence[Any], timeout_s: float = 20) -> None:
    """Call an action with each subject and its number, in a thread of that name, and wait for all."""
    errors = []

    def run(subject: Any, rank: int) -> None:
        try:
            action(subject, rank)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(own, rank), name=str(rank)) for rank, own in enumerate(subjects)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads)


def note_rank(folder: Path) -> None:
    """Write the number of processes to a file named by the rank; a task of `launch`."""
    (folder / str(current_world().rank)).write_text(str(current_world().size))


def fail(how: str) -> None:
    """Let rank 1 fail, or be killed; a task of `launch`."""
    if current_world().rank == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise FGDError("the disk is full")
