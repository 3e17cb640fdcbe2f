"""One line of progress for work that takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield `items`, counting them on standard error (on a terminal; elsewhere one line says how many)."""
    live = sys.stderr.isatty()
    if not live:
        print(f"{what}: {len(items)}", file=sys.stderr, flush=True)
    for done, item in enumerate(items, start=1):
        yield item
        if live:
            end = "\n" if done == len(items) else ""
            print(f"\r{what}: {done}/{len(items)}", end=end, file=sys.stderr, flush=True)
