"""Times that can be compared, taken in turns and the smallest of many; and figures made of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from time import perf_counter
from typing import TypeVar

Name = TypeVar("Name")
SHORTEST_S = 0.01
"""Over less, a rate would say how results were bunched, not how fast they come."""
UNKNOWN = "-"


def rate(count: float, seconds: float) -> float | None:
    """Return how many there were per second, None over a time too short to be measured."""
    return ratio(count, seconds) if seconds >= SHORTEST_S else None


def ratio(value: float | None, base: float | None) -> float | None:
    """Return a value over another, None where that is no finite number."""
    if value is None or not base:
        return None
    found = value / base
    return found if isfinite(found) else None


def format_number(value: float | None, form: str, unit: str = "") -> str:
    """Return a number as a table shows it, or a dash where there is none or it is not finite.

    Args:
        value: or None.
        form: as of `format`, such as `.1f`.
        unit: stands behind the number.
    """
    return UNKNOWN if value is None or not isfinite(value) else f"{value:{form}}{unit}"


def best_times(actions: Mapping[Name, Callable[[], object]], rounds: int, warm_ups: int = 1) -> dict[Name, float]:
    """Return the shortest time in seconds of each action.

    The actions take turns, so that other work on the machine falls on all of them, and the shortest time is the one
    that it disturbed least.

    Args:
        actions: what to time, by name.
        rounds: timed runs of each.
        warm_ups: runs of each before those, which do not count.
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
