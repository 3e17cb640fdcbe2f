"""The lines that commands print: status, durations, classes, paths and progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fgd_yolo.text import counted, printable, shortened

Item = TypeVar("Item")
STAGES = 5
"""Number of stages of a distillation run, described in `fgd_yolo.workflow.distill`."""


def print_status(text: str, stage: int | None = None) -> None:
    """Print one line of at most 300 characters and flush it.

    Args:
        text: the line; it is made printable and shortened.
        stage: number of the stage that starts, printed in front; None indents the line instead.
    """
    text = shortened(printable(text))
    print(f"[{stage}/{STAGES}] {text}" if stage else f"      {text}", flush=True)


def format_duration(seconds: float) -> str:
    """Return a duration with at most two units: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def format_classes(names: Mapping[int, str], most: int = 4) -> str:
    """Return the number of classes and the first names: `2 classes (cat, dog)`.

    Args:
        names: class names by number.
        most: how many names to list.
    """
    first = ", ".join(shortened(printable(name), 40) for name in list(names.values())[:most])
    return f"{counted(len(names), 'class')} ({first}{', ...' if len(names) > most else ''})"


def display_path(path: Path) -> str:
    """Return a path relative to the current folder if it lies inside, otherwise unchanged."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def short_names(files: Sequence[Path]) -> list[str]:
    """Return names of files for messages, each with as many of its folders as tell all of them apart."""
    names: list[str] = []
    for parts in range(1, max((len(file.parts) for file in files), default=0) + 1):
        names = [printable("/".join(file.parts[-parts:])) for file in files]
        if len(set(names)) == len(names):
            break
    return names


def progress(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield `items` with a progress bar on stderr; without a terminal, one line gives their number instead."""
    from tqdm import tqdm  # imported late, so that importing this module stays cheap

    live = sys.stderr.isatty()
    if not live:
        print(f"{description}: {len(items)}", file=sys.stderr, flush=True)
    yield from tqdm(items, desc=description, disable=not live)
