"""Let one of several processes use Ultralytics as if it were the only one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_RANKS = ("RANK", "LOCAL_RANK")


@contextmanager
def alone() -> Iterator[None]:
    """Let Ultralytics validate and export in this process only, for a block.

    Its modules read the environment once, into `RANK` and `LOCAL_RANK`; with a rank its validators wait for those of
    the other processes, and expect a GPU. Only the main thread may use this.
    """
    changed = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "ultralytics":
            for variable in _RANKS:
                if isinstance(rank := vars(module).get(variable), int) and rank != -1:
                    changed.append((module, variable, rank))
                    setattr(module, variable, -1)
    try:
        yield
    finally:
        for module, variable, rank in changed:
            setattr(module, variable, rank)
