"""Move small tensors to the device of a training without making the CPU wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device; from ordinary memory a GPU may make the CPU wait for its queue."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def columns_of(scores: Tensor, columns: Sequence[int] | None) -> Tensor:
    """Return columns of scores (B, classes, A), such as those of the classes that a teacher knows; None for all."""
    return scores if columns is None else scores.index_select(1, column_index(tuple(columns), scores.device))


@lru_cache(maxsize=64)
def column_index(columns: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the numbers of columns on a device, kept there: a list would be copied for each use, and waited for."""
    return torch.tensor(columns, dtype=torch.int64, device=device)
