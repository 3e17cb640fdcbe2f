"""Times that can be compared: taken in turns, and the smallest of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TypeVar

Name = TypeVar("Name")


def minima(actions: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Return the smallest time in seconds of each action, after one warm-up round.

    The actions take turns, so that other work on the machine falls on all of them, and the smallest time is the one
    that it disturbed least.

    Args:
        actions: what to time, by name.
        rounds: how many times to run each.
    """
    times: dict[Name, list[float]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            start = perf_counter()
            action()
            times[name].append(perf_counter() - start)
    return {name: min(taken[1:]) for name, taken in times.items()}
