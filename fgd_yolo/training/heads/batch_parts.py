"""Join what models have made of the parts of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fgd_yolo.training.heads.head_outputs import HeadOutputs

_SHARED = ("feats", "valid")
"""Outputs of a head that are read for the cells of the levels alone, so those of one part do for all."""


def join_parts(parts: Sequence[Any]) -> Any:
    """Return the outputs for a whole batch.

    Args:
        parts: outputs for consecutive images of the batch, of one structure: tensors (B, ...) in lists, tuples and
            mappings.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, HeadOutputs):
        return first._replace(outputs=join_parts([part.outputs for part in parts]))
    if isinstance(first, dict):
        return {
            name: value if name in _SHARED else join_parts([part[name] for part in parts])
            for name, value in first.items()
        }
    if isinstance(first, (list, tuple)):
        return type(first)(join_parts(own) for own in zip(*parts, strict=True))
    raise TypeError(f"outputs of a {type(first).__name__} cannot be joined")
