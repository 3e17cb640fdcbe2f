"""Values of a GPU that the CPU reads some batches later, when they have long been computed, so that it never waits.

Reading a value of a GPU at once would make the CPU wait for all work that it has queued there.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAG = 2
"""Batches after which a value of a GPU is read, when it has usually been computed. On a CPU values are read at once."""


class LaterValue:
    """The copy of a value to the CPU, which runs while the device goes on.

    Args:
        value: tensor on any device.
        batch: number of the batch that it belongs to.
    """

    def __init__(self, value: Tensor, batch: int):
        self.batch = batch
        self.lag = LAG if value.is_cuda else 0
        self._copy = value.detach().to("cpu", non_blocking=True)  # to pinned memory
        self._copied = None
        if value.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def is_due(self, batch: int) -> bool:
        """Return whether the value is read in this batch."""
        return batch >= self.batch + self.lag

    def read(self) -> float:
        """Return the value; waits if it is not there yet."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._copy.item()
