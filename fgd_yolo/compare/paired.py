"""What a difference between two methods is worth: pairs of runs that differ in the method alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from scipy.stats import t as student_t

from fgd_yolo.compare.results_csv import Run

CONFIDENCE = 0.95
_RANK = ("plain", "ultralytics", "fitnet", "fgd")


@dataclass(frozen=True)
class Pair:
    """Two runs on the same data from the same seed.

    Args:
        data: name of the data set.
        seed: of both.
        points: mAP50-95 of the first method less the second's, in points (hundredths).
    """

    data: str
    seed: int
    points: float


@dataclass(frozen=True)
class Estimate:
    """A mean of differences with what is known of it.

    Args:
        mean: in points.
        low: lower end of the 95 % interval; None where one pair gives none.
        high: upper end.
        n: pairs.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def pairs(runs: Sequence[Run], method: str, other: str) -> list[Pair]:
    """Return the difference of two methods on every data set and seed that both have, in order."""
    found = {run.key: run for run in runs}
    return [
        Pair(data, seed, 100 * (run.map50_95 - found[data, other, seed].map50_95))
        for (data, name, seed), run in sorted(found.items())
        if name == method and (data, other, seed) in found
    ]


def estimate(points: Sequence[float]) -> Estimate | None:
    """Return mean and 95 % interval of differences, by Student's t with one degree of freedom fewer than pairs.

    Returns:
        None where there is no difference.

    Example:
        >>> found = estimate([1.0, 2.0, 3.0])
        >>> found.mean, round(found.low, 3), round(found.high, 3)
        (2.0, -0.484, 4.484)
    """
    n = len(points)
    if n < 2:
        return Estimate(points[0], None, None, 1) if n else None
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(points) / sqrt(n)
    return Estimate(mean(points), mean(points) - half, mean(points) + half, n)


def verdict(found: Estimate) -> str:
    """Return what an estimate shows, in words."""
    if found.low is None:
        return "no interval from one pair"
    if found.low > 0:
        return "a gain"
    return "a loss" if found.high < 0 else "no gain shown"


def verdict_line(method: str, other: str, found: Estimate) -> str:
    """Return the sentence that answers whether a method beats another."""
    interval = "" if found.low is None else f", 95 % interval {found.low:+.2f} to {found.high:+.2f}"
    return f"{method} over {other}: {found.mean:+.2f} mAP50-95 points{interval}, n={found.n}: {verdict(found)}"


def ordered(methods: Sequence[str]) -> list[str]:
    """Return methods in the order of every table: from no teacher to the default, each before its variants."""

    def place(label: str) -> tuple[int, bool, str]:
        base, _, changes = label.partition(":")
        return _RANK.index(base) if base in _RANK else len(_RANK), bool(changes), label

    return sorted(set(methods), key=place)


def subject(methods: Sequence[str]) -> str:
    """Return the method that the verdicts are about: `fgd`, or else the last in the order of tables."""
    return "fgd" if "fgd" in methods else ordered(methods)[-1]


def cost_ratios(runs: Sequence[Run], method: str, base: str) -> list[float]:
    """Return the seconds of an epoch over the base's, for every data set and seed that both have."""
    found = {run.key: run for run in runs if run.epoch_s}
    return [
        run.epoch_s / found[data, base, seed].epoch_s
        for (data, name, seed), run in sorted(found.items())
        if name == method and (data, base, seed) in found
    ]
