"""Run work beside the student's forward pass: in a worker thread on a CPU, on a stream of its own on a GPU."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from fgd_yolo.training.speed.spare_core import has_spare_core

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
        try:
            # Both are settings of a thread, and a worker has the defaults.
            with torch.no_grad(), torch.autocast(self._device, enabled=False):
                while self._todo:
                    self._do_one()
        except BaseException as error:
            self._todo.clear()
            with suppress(InvalidStateError):  # the other thread has failed too
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
    there are enough cores for both: a teacher takes longer than the forward pass of its student. On a GPU a stream of
    its own does it; on other devices the caller itself, when it starts it.

    Convention:
        Where the caller can help, a batch is divided into pieces, which round differently than the batch as a whole. So
        results depend on the number of cores, in their last digits.

    Args:
        device: device of the work.
    """

    def __init__(self, device: torch.device):
        on_cpu = device.type == "cpu"
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="teacher") if on_cpu else None
        self._helps = on_cpu and has_spare_core()
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
        elif self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                job.work()
            key.record_stream(self._stream)
        else:
            job.work()
        self._key, self._job = key, job

    def wait(self, key: Tensor) -> Any | None:
        """Return the result of the job that was started for a tensor, and forget it; None if there is none.

        Raises:
            Exception: what the work has raised.
        """
        if self._key is not key:
            return None
        job, self._key, self._job = self._job, None, None
        try:
            if self._helps:
                job.work()
            result = job.result.result()
        except BaseException:  # such as Ctrl-C: the worker takes no further piece
            job.cancel()
            raise
        if self._stream is not None:
            # All that the stream allocates later comes after this too, so it may use the memory of the result again.
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return result

    def drain(self) -> None:
        """Leave out the pieces that have not begun, wait for one that has, and drop the result."""
        job, self._key, self._job = self._job, None, None
        if job is not None:
            job.cancel()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.result()

    def close(self) -> None:
        """End what has been started, and the worker."""
        self.drain()
        if self._pool is not None:
            self._pool.shutdown()
