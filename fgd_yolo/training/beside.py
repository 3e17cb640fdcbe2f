"""Run work beside the student's forward pass: in a worker thread on a CPU, on a stream of its own on a GPU."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

MAX_PIECES = 8
"""Parts of a batch on a CPU; each has the same cost per image, down to one image."""


class _Job:
    """Pieces of work that two threads take in turn, and what is made of all their results.

    Args:
        pieces: functions, each for a part of a batch.
        finish: function of the results of all pieces, in their order; called by the thread that ends the last piece.
        device: type of the device of the work.
    """

    def __init__(self, pieces: Sequence[Callable[[], Any]], finish: Callable[[list[Any]], Any], device: str):
        self.result: Future = Future()
        self._todo = deque(enumerate(pieces))
        self._results: list[Any] = [None] * len(pieces)
        self._open = len(pieces)
        self._finish = finish
        self._device = device
        self._lock = threading.Lock()

    def work(self) -> None:
        """Do pieces until none is left; errors become that of the result."""
        # Both are settings of a thread, and a worker has the defaults.
        with torch.no_grad(), torch.autocast(self._device, enabled=False):
            try:
                while self._todo:
                    self._do_one()
            except Exception as error:
                self._todo.clear()
                if not self.result.done():
                    self.result.set_exception(error)

    def _do_one(self) -> None:
        try:
            number, piece = self._todo.popleft()
        except IndexError:  # the other thread has taken the last
            return
        self._results[number] = piece()
        with self._lock:
            self._open -= 1
            ends = not self._open
        if ends:
            self.result.set_result(self._finish(self._results))

    def cancel(self) -> None:
        """Leave out the pieces that have not begun."""
        self._todo.clear()


class Beside:
    """Runs one job at a time while the caller goes on, without gradients and without autocast.

    On a CPU a second thread does it, with as many threads of torch as the first. A caller that comes to wait helps, if
    there are enough cores for both: a teacher takes longer than the forward pass of its student.

    Args:
        device: device of the work.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool = None if device.type == "cuda" else ThreadPoolExecutor(1, thread_name_prefix="teacher")
        self._helps = device.type == "cpu" and _cores() >= 2 * torch.get_num_threads()
        self._key: Any = None
        self._job: _Job | None = None
        self._worker: Future | None = None

    def pieces(self, images: int) -> int:
        """Return the number of parts that a batch of images is best divided into."""
        return min(images, MAX_PIECES) if self._helps else 1

    def start(self, key: Tensor, pieces: Sequence[Callable[[], Any]], finish: Callable[[list[Any]], Any]) -> None:
        """Start a job; one that was started before and has not been waited for is ended and dropped.

        Args:
            key: tensor that the work reads, by which `wait` knows it.
            pieces: functions whose results consist of tensors in mappings and sequences.
            finish: function of all their results, in their order.
        """
        self.drain()
        job = _Job(pieces, finish, self._device.type)
        if self._pool is not None:
            self._worker = self._pool.submit(job.work)
        else:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                job.work()
            key.record_stream(self._stream)
        self._key, self._job = key, job

    def wait(self, key: Tensor) -> Any | None:
        """Return the result of the job that was started for a tensor, and forget it; None if there is none.

        Raises:
            Exception: what the work has raised.
        """
        if self._key is not key:
            return None
        job, self._key, self._job = self._job, None, None
        if self._helps:
            job.work()
        result = job.result.result()
        if self._stream is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_stream(self._stream)
            for tensor in _tensors(result):
                tensor.record_stream(stream)
        return result

    def drain(self) -> None:
        """End what has been started after the pieces that have begun, and drop its result or error."""
        job, self._key, self._job = self._job, None, None
        if job is not None:
            job.cancel()
        if self._worker is not None:
            self._worker.result()
            self._worker = None

    def close(self) -> None:
        """End what has been started, and the worker."""
        self.drain()
        if self._pool is not None:
            self._pool.shutdown()


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from _tensors(value)
    elif isinstance(result, Sequence) and not isinstance(result, str):
        for value in result:
            yield from _tensors(value)
