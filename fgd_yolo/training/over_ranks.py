"""Sums over the processes of a training."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def has_ranks() -> bool:
    """Return whether this training has several processes."""
    return dist.is_available() and dist.is_initialized()


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, without waiting for the device; the tensor itself if alone."""
    if has_ranks():
        dist.all_reduce(values)
    return values
