"""Sums over the processes of a training."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def has_ranks() -> bool:
    """Return whether this training has several processes."""
    return dist.is_available() and dist.is_initialized()


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, in its own memory; unchanged if this is the only one.

    A GPU does it while the CPU goes on.
    """
    if has_ranks():
        dist.all_reduce(values)
    return values
