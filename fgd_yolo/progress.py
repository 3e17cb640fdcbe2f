"""Progress of work that takes seconds, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield `items` with a progress bar on a terminal; elsewhere one line says how many there are."""
    from tqdm import tqdm  # only now: importing the package stays cheap

    live = sys.stderr.isatty()
    if not live:
        print(f"{what}: {len(items)}", file=sys.stderr, flush=True)
    yield from tqdm(items, desc=what, disable=not live)
