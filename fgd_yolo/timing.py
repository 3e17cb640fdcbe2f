"""Measure comparable times, and format numbers."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TypeVar

Name = TypeVar("Name")
MIN_DURATION_S = 0.01
"""Over a shorter time, a rate depends on how results are bunched rather than on their throughput."""
UNKNOWN = "-"


def rate(count: float, seconds: float) -> float | None:
    """Return a count per second, or None if the time is shorter than `MIN_DURATION_S`."""
    return ratio(count, seconds) if seconds >= MIN_DURATION_S else None


def ratio(value: float | None, base: float | None) -> float | None:
    """Return the quotient of two values, or None if it is not a finite number."""
    if value is None or not base:
        return None
    quotient = value / base
    return quotient if isfinite(quotient) else None


def format_number(value: float | None, form: str, unit: str = "") -> str:
    """Format a number for a table; a missing or non-finite number is a dash.

    Args:
        value: the number, or None.
        form: a format specification, such as `.1f`.
        unit: appended to the number.
    """
    return UNKNOWN if value is None or not isfinite(value) else f"{value:{form}}{unit}"


def best_times(actions: Mapping[Name, Callable[[], object]], rounds: int, warm_ups: int = 1) -> dict[Name, float]:
    """Return the shortest time in seconds of each action.

    The actions take turns, so that other work on the machine slows down all of them. The shortest time is the least
    disturbed one.

    Args:
        actions: functions to time, by name.
        rounds: number of timed runs of each.
        warm_ups: number of untimed runs of each before the timed ones.
    """
    times: dict[Name, list[float]] = {name: [] for name in actions}
    for _ in range(warm_ups + rounds):
        for name, action in actions.items():
            start = perf_counter()
            action()
            times[name].append(perf_counter() - start)
    return {name: min(seconds[warm_ups:]) for name, seconds in times.items()}


def best_time(action: Callable[[], object], rounds: int, warm_ups: int = 1) -> float:
    """Return the shortest time in seconds of one action, as `best_times` measures it."""
    return best_times({"": action}, rounds, warm_ups)[""]


def processor_name() -> str:
    """Return the model name of the processor, or its architecture if the name is not known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1].strip() if match else platform.machine()
