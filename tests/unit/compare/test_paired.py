from __future__ import annotations

from math import sqrt

import pytest

from fgd_yolo.compare.paired import (
    Estimate,
    cost_ratios,
    estimate,
    ordered,
    pairs,
    subject,
    verdict,
    verdict_line,
)
from unit.compare.made_up import made_up

# Student's t, two-sided 95 %, from printed tables.
T_BY_FREEDOM = {1: 12.706, 2: 4.303, 4: 2.776, 11: 2.201}


def test_only_runs_of_the_same_data_and_seed_are_paired():
    runs = [
        made_up("fgd", 0, 0.52),
        made_up("plain", 0, 0.50),
        made_up("fgd", 1, 0.60),
        made_up("plain", 2, 0.10),
        made_up("fgd", 0, 0.40, data="boards"),
        made_up("plain", 0, 0.43, data="boards"),
    ]
    found = pairs(runs, "fgd", "plain")
    assert [(pair.data, pair.seed) for pair in found] == [("boards", 0), ("cells", 0)]
    assert [pair.points for pair in found] == pytest.approx([-3.0, 2.0])


def test_a_worked_example():
    # Mean 2; deviations -2, -1, 0, 1, 2; variance 10 / 4; standard error sqrt(2.5 / 5).
    found = estimate([0.0, 1.0, 2.0, 3.0, 4.0])
    half = T_BY_FREEDOM[4] * sqrt(0.5)
    assert (found.mean, found.n) == (2.0, 5)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=1e-3)


@pytest.mark.parametrize("freedom", T_BY_FREEDOM)
def test_the_interval_follows_the_printed_table(freedom):
    n = freedom + 1
    found = estimate([1.0] * freedom + [0.0])
    mean = freedom / n
    deviation = sqrt((freedom * (1 - mean) ** 2 + mean**2) / freedom)
    assert found.high - found.mean == pytest.approx(T_BY_FREEDOM[freedom] * deviation / sqrt(n), rel=1e-3)


def test_one_pair_gives_no_interval_and_none_gives_nothing():
    assert estimate([1.5]) == Estimate(1.5, None, None, 1)
    assert estimate([]) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.4, 2.06, "a gain"), (-2.0, -0.1, "a loss"), (-0.1, 2.0, "no gain shown"), (0.0, 1.0, "no gain shown")],
)
def test_the_verdict_is_what_the_interval_allows(low, high, words):
    assert verdict(Estimate((low + high) / 2, low, high, 12)) == words


def test_the_verdict_line_says_mean_interval_and_pairs():
    line = verdict_line("fgd", "plain", Estimate(1.23, 0.4, 2.06, 12))
    assert line == "fgd over plain: +1.23 mAP50-95 points, 95 % interval +0.40 to +2.06, n=12: a gain"
    alone = verdict_line("fgd", "plain", Estimate(-1.5, None, None, 1))
    assert alone == "fgd over plain: -1.50 mAP50-95 points, n=1: no interval from one pair"


def test_methods_are_told_in_one_order_and_the_verdict_is_about_the_default():
    methods = ["fgd:gradient_ratio=0.1", "fgd", "mine.yaml", "plain", "ultralytics:dis=3", "fitnet", "ultralytics"]
    assert ordered(methods) == [
        *("plain", "ultralytics", "ultralytics:dis=3", "fitnet", "fgd", "fgd:gradient_ratio=0.1", "mine.yaml")
    ]
    assert subject(methods) == "fgd"
    assert subject(["plain", "fgd:gradient_ratio=0.1"]) == "fgd:gradient_ratio=0.1"


def test_cost_is_compared_within_data_and_seed():
    runs = [
        made_up("fgd", 0, epoch_s=15.0),
        made_up("plain", 0, epoch_s=10.0),
        made_up("fgd", 1, epoch_s=40.0),
        made_up("plain", 1, epoch_s=20.0),
        made_up("fgd", 2, epoch_s=7.0),
        made_up("plain", 2, epoch_s=None),
    ]
    assert cost_ratios(runs, "fgd", "plain") == [1.5, 2.0]
