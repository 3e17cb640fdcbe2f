from __future__ import annotations

import pytest

from fgd_yolo import timing
from fgd_yolo.timing import format_number, rate, ratio


def test_actions_take_turns_after_one_round_of_warm_up():
    calls = []
    timing.best_times({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3


def test_the_smallest_time_counts_and_the_warm_up_does_not(monkeypatch):
    now = 0.0
    durations = {"a": iter([1, 9, 7, 8]), "b": iter([50, 20, 30, 40])}

    def work(name):
        nonlocal now
        now += next(durations[name])

    monkeypatch.setattr(timing, "perf_counter", lambda: now)
    assert timing.best_times({"a": lambda: work("a"), "b": lambda: work("b")}, rounds=3) == {"a": 7, "b": 20}


def test_warm_ups_are_run_and_never_counted(monkeypatch):
    now = 0.0
    durations = iter([1, 2, 9, 7, 8])

    def work():
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(timing, "perf_counter", lambda: now)
    assert timing.best_time(work, rounds=3, warm_ups=2) == 7
    durations = iter([5, 4])
    assert timing.best_time(work, rounds=2, warm_ups=0) == 4


@pytest.mark.parametrize(("count", "seconds", "expected"), [(10, 2, 5), (10, 0, None), (10, 1e-6, None), (0, 1, 0)])
def test_a_rate_is_unknown_over_a_time_too_short_to_measure(count, seconds, expected):
    assert rate(count, seconds) == expected


@pytest.mark.parametrize(
    ("value", "base", "expected"),
    [(3, 2, 1.5), (3, 0, None), (None, 2, None), (3, None, None), (float("nan"), 2, None), (1e308, 1e-9, None)],
)
def test_a_ratio_that_is_not_finite_is_unknown(value, base, expected):
    assert ratio(value, base) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(1.25, "1.2 fps"), (None, "-"), (float("nan"), "-"), (float("-inf"), "-"), (0, "0.0 fps")]
)
def test_an_unknown_number_is_a_dash(value, text):
    assert format_number(value, ".1f", " fps") == text
