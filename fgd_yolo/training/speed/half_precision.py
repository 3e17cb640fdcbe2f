"""Return from half precision to float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_float32(value: Any) -> Any:
    """Return a nest of tuples, lists and dicts with all its tensors of half precision as float32, in the graph."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if isinstance(value, dict):
        return {name: to_float32(entry) for name, entry in value.items()}
    return type(value)(map(to_float32, value)) if isinstance(value, (list, tuple)) else value
