"""Run work beside the student's forward pass: in a worker thread on a CPU, on a stream of its own on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class Beside:
    """Runs one piece of work at a time while the caller goes on, without gradients and without autocast.

    On a CPU a second thread does the work, with as many threads of torch as the first.

    Args:
        device: device of the work.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool = None if device.type == "cuda" else ThreadPoolExecutor(1, thread_name_prefix="teacher")
        self._key: Any = None
        self._work: Future | None = None

    def start(self, key: Tensor, work: Callable[[], Any]) -> None:
        """Start work; what was started before and has not been waited for is finished and dropped.

        Args:
            key: tensor that the work reads, by which `wait` knows it.
            work: function whose result consists of tensors in mappings and sequences.
        """
        self.drain()
        if self._pool is not None:
            self._work = self._pool.submit(self._run, work)
        else:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            queued: Future = Future()
            with torch.cuda.stream(self._stream):
                queued.set_result(self._run(work))
            key.record_stream(self._stream)
            self._work = queued
        self._key = key

    def wait(self, key: Tensor) -> Any | None:
        """Return the result of the work that was started for a tensor, and forget it; None if there is none.

        Raises:
            Exception: what the work has raised.
        """
        if self._key is not key:
            return None
        work, self._key, self._work = self._work, None, None
        result = work.result()
        if self._stream is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_stream(self._stream)
            for tensor in _tensors(result):
                tensor.record_stream(stream)
        return result

    def drain(self) -> None:
        """Finish what has been started, and drop its result or error."""
        if self._work is not None:
            work, self._key, self._work = self._work, None, None
            work.exception()

    def close(self) -> None:
        """Finish what has been started, and end the worker."""
        self.drain()
        if self._pool is not None:
            self._pool.shutdown()

    def _run(self, work: Callable[[], Any]) -> Any:
        # Both are settings of a thread, and a worker has the defaults.
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            return work()


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from _tensors(value)
    elif isinstance(result, Sequence) and not isinstance(result, str):
        for value in result:
            yield from _tensors(value)
