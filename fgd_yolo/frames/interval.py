"""The time between two frames of a video, as text."""

from __future__ import annotations

import re

from fgd_yolo.errors import UsageError
from fgd_yolo.text import shortened

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_INTERVAL = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|h|)")


def parse_interval(text: str) -> float:
    """Return an interval in seconds; a number without a unit counts seconds.

    Raises:
        UsageError: it is not a number with one of the units, or not above 0.
    Examples:
        >>> parse_interval("1s"), parse_interval("500ms"), parse_interval("2min"), parse_interval("0.5")
        (1.0, 0.5, 120.0, 0.5)
    """
    match = _INTERVAL.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"'{shortened(text, 40)}' is not an interval: write 1s, 500ms or 2min")
    return seconds
