"""What Ultralytics prints, made readable: real paths, no repetition, and progress bars on a terminal alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord
from pathlib import Path

from ultralytics.utils import LOGGER, TQDM

from fgd_yolo.console import display_path
from fgd_yolo.text import without_colours

# Lines that say nothing about a run, or that its files hold (`args.yaml`); matched without colours.
_LEFT_OUT = tuple(
    re.compile(pattern)
    for pattern in (
        r"\w+: Fast image access",
        r"\w+: New cache created",
        r"engine/trainer: ",  # all 100 arguments in one line
        r"\s*from +n +params +module",  # the table of layers
        r"\s*\d+ .* (ultralytics|torch)\.nn\.",
        r"Freezing layer '.*\.dfl\.",  # a constant, frozen in every training
    )
)
_BANNER = re.compile(r"Ultralytics \d")  # version and device, before each training and each validation


class _RunFilter:
    """A `logging` filter for the records of one run."""

    def __init__(self, colours: bool):
        self._colours = colours
        self._has_banner = False

    def __call__(self, record: LogRecord) -> bool:
        text = without_colours(record.getMessage())
        if any(pattern.match(text) for pattern in _LEFT_OUT):
            return False
        if _BANNER.match(text):
            if self._has_banner:
                return False
            self._has_banner = True
        if not self._colours:
            record.msg, record.args = text, ()
        return True


@contextmanager
def readable_log() -> Iterator[None]:
    """Leave out repetition from Ultralytics' log for a block; without a terminal, also colours and redrawn bars.

    A log file then has one line for each finished bar, as Ultralytics itself writes it on GitHub Actions.
    """
    terminal = sys.stdout.isatty()
    run_filter, display = _RunFilter(colours=terminal), TQDM._display

    def display_once(bar: TQDM, final: bool = False) -> None:
        bar.noninteractive, bar.desc = True, without_colours(bar.desc)
        display(bar, final)

    LOGGER.addFilter(run_filter)
    if not terminal:
        TQDM._display = display_once
    try:
        yield
    finally:
        TQDM._display = display
        LOGGER.removeFilter(run_filter)


@contextmanager
def shown_as(folder: Path, place: Path) -> Iterator[None]:
    """Let Ultralytics' log name the place of files that are written to another folder first, for a block.

    Args:
        folder: where the files are written.
        place: where they are moved afterwards.
    """
    shown = display_path(place)

    def rename(record: LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(str(folder), shown), ()
        return True

    LOGGER.addFilter(rename)
    try:
        yield
    finally:
        LOGGER.removeFilter(rename)
