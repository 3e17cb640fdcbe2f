"""Paired differences between two methods over runs that differ in nothing but the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev
from typing import NamedTuple

from scipy.stats import t as student_t

from fgd_yolo.compare.options import PSEUDO_LABELS, ULTRALYTICS
from fgd_yolo.compare.results import Run
from fgd_yolo.config import DEFAULT_METHOD, METHOD_OPTIONS, PLAIN

CONFIDENCE = 0.95
_ORDER = (PLAIN, PSEUDO_LABELS, ULTRALYTICS, *METHOD_OPTIONS)


@dataclass(frozen=True)
class Pair:
    """Two runs on the same data with the same seed.

    Args:
        data: name of the data set.
        seed: seed of both runs.
        points: mAP50-95 of the first method minus that of the second, in points (hundredths).
    """

    data: str
    seed: int
    points: float


@dataclass(frozen=True)
class Estimate:
    """The mean of differences and its confidence interval.

    Args:
        mean: mean difference in points.
        low: lower end of the 95 % interval in points; None for a single pair.
        high: upper end of the interval in points; None for a single pair.
        n: number of pairs.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def pairs(runs: Sequence[Run], method: str, other: str) -> list[Pair]:
    """Return the differences of two methods on the data sets and seeds that both have, sorted."""
    by_key = {run.key: run for run in runs}
    return [
        Pair(data, seed, 100 * (run.map50_95 - by_key[data, other, seed].map50_95))
        for (data, name, seed), run in sorted(by_key.items())
        if name == method and (data, other, seed) in by_key
    ]


def estimate(points: Sequence[float]) -> Estimate | None:
    """Return mean and 95 % interval of differences, by Student's t with n - 1 degrees of freedom; None without any.

    Examples:
        >>> result = estimate([1.0, 2.0, 3.0])
        >>> result.mean, round(result.low, 3), round(result.high, 3)
        (2.0, -0.484, 4.484)
    """
    n = len(points)
    if n < 2:
        return Estimate(points[0], None, None, 1) if n else None
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(points) / sqrt(n)
    return Estimate(mean(points), mean(points) - half, mean(points) + half, n)


class Share(NamedTuple):
    """How much of the difference between two methods a third one closes, as a fraction, and from how many pairs."""

    closed: float
    n: int


def share_closed(runs: Sequence[Run], method: str, full: str, base: str) -> Share | None:
    """Return the share of the difference between `full` and `base` that a method closes.

    Convention:
        The mean gain of the method over the mean gain of `full`, over the data sets and seeds that have all three.
        None if there are none, or if `full` is no better there.
    """
    gains, gaps = ({(pair.data, pair.seed): pair.points for pair in pairs(runs, own, base)} for own in (method, full))
    shared = gains.keys() & gaps.keys()
    gap = sum(gaps[key] for key in shared)
    return Share(sum(gains[key] for key in shared) / gap, len(shared)) if gap > 0 else None


NO_PAIR, ONE_PAIR, NOTHING_SHOWN = "no pair", "no interval from one pair", "no gain shown"
"""Conclusions that more runs may change."""


def verdict(result: Estimate) -> str:
    """Return the conclusion from an estimate, such as `a gain`."""
    if result.low is None:
        return ONE_PAIR
    if result.low > 0:
        return "a gain"
    return "a loss" if result.high < 0 else NOTHING_SHOWN


def verdict_line(method: str, other: str, result: Estimate, map_name: str = "mAP50-95") -> str:
    """Return the conclusion with its numbers, as one line.

    Args:
        method: first method of the comparison.
        other: second method.
        result: estimate of the difference, in points.
        map_name: name of the accuracy that the points are of.
    """
    interval = "" if result.low is None else f", 95 % interval {result.low:+.2f} to {result.high:+.2f}"
    return f"{method} over {other}: {result.mean:+.2f} {map_name} points{interval}, n={result.n}: {verdict(result)}"


def sort_methods(methods: Sequence[str]) -> list[str]:
    """Sort methods as in all tables: plain, Ultralytics' own, those of this package, the default, and others.

    Each stands before its variants, and before its compositions.
    """

    def rank(label: str) -> tuple[int, int, bool, str]:
        base, _, changes = label.partition(":")
        first = base.split("+")[0]
        place = _ORDER.index(first) if first in _ORDER else len(_ORDER) + 1
        return len(_ORDER) if base == DEFAULT_METHOD else place, base.count("+"), bool(changes), label

    return sorted(set(methods), key=rank)


def main_method(methods: Sequence[str]) -> str:
    """Return the method that the verdicts are about.

    It is the first that learns from frames without labels; otherwise the default, or the last of this package without
    options.
    """
    ordered = sort_methods(methods)
    with_frames = [method for method in ordered if "frames=" in method]
    if with_frames:
        return with_frames[0]
    if DEFAULT_METHOD in methods:
        return DEFAULT_METHOD
    own = [method for method in ordered if ":" not in method and method not in _ORDER[:3]]
    return (own or ordered)[-1]


def comparisons(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of methods to compare: the main method with all others, then the others with plain training."""
    main = main_method(methods)
    others = [method for method in methods if method != main]
    with_plain = [(method, PLAIN) for method in others if method != PLAIN and PLAIN in others]
    return [(main, other) for other in others] + with_plain


def cost_ratios(runs: Sequence[Run], method: str, base: str) -> list[float]:
    """Return the epoch time relative to the base method, for each data set and seed that both have."""
    by_key = {run.key: run for run in runs if run.epoch_s}
    return [
        run.epoch_s / by_key[data, base, seed].epoch_s
        for (data, name, seed), run in sorted(by_key.items())
        if name == method and (data, base, seed) in by_key
    ]
