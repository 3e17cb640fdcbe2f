from __future__ import annotations

from math import sqrt

import pytest

from fgd_yolo.compare.paired_differences import (
    Estimate,
    comparisons,
    cost_ratios,
    estimate,
    main_method,
    pairs,
    share_closed,
    sort_methods,
    verdict,
    verdict_line,
)
from unit.compare.example_runs import example_run

# Student's t, two-sided 95 %, from printed tables.
T_BY_FREEDOM = {1: 12.706, 2: 4.303, 4: 2.776, 11: 2.201}


def test_only_runs_of_the_same_data_and_seed_are_paired():
    runs = [
        example_run("fgd", 0, 0.52),
        example_run("plain", 0, 0.50),
        example_run("fgd", 1, 0.60),
        example_run("plain", 2, 0.10),
        example_run("fgd", 0, 0.40, data="boards"),
        example_run("plain", 0, 0.43, data="boards"),
    ]
    result = pairs(runs, "fgd", "plain")
    assert [(pair.data, pair.seed) for pair in result] == [("boards", 0), ("cells", 0)]
    assert [pair.points for pair in result] == pytest.approx([-3.0, 2.0])


def test_the_estimate_matches_a_worked_example():
    # Mean 2; deviations -2, -1, 0, 1, 2; variance 10 / 4; standard error sqrt(2.5 / 5).
    result = estimate([0.0, 1.0, 2.0, 3.0, 4.0])
    half = T_BY_FREEDOM[4] * sqrt(0.5)
    assert (result.mean, result.n) == (2.0, 5)
    assert (result.low, result.high) == pytest.approx((2 - half, 2 + half), abs=1e-3)


@pytest.mark.parametrize("freedom", T_BY_FREEDOM)
def test_the_interval_matches_printed_tables(freedom):
    n = freedom + 1
    result = estimate([1.0] * freedom + [0.0])
    mean = freedom / n
    deviation = sqrt((freedom * (1 - mean) ** 2 + mean**2) / freedom)
    assert result.high - result.mean == pytest.approx(T_BY_FREEDOM[freedom] * deviation / sqrt(n), rel=1e-3)


def test_one_pair_has_no_interval_and_no_pair_has_no_estimate():
    assert estimate([1.5]) == Estimate(1.5, None, None, 1)
    assert estimate([]) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.4, 2.06, "a gain"), (-2.0, -0.1, "a loss"), (-0.1, 2.0, "no gain shown"), (0.0, 1.0, "no gain shown")],
)
def test_the_verdict_follows_from_the_interval(low, high, words):
    assert verdict(Estimate((low + high) / 2, low, high, 12)) == words


def test_the_verdict_line_has_mean_interval_and_number_of_pairs():
    line = verdict_line("fgd", "plain", Estimate(1.23, 0.4, 2.06, 12))
    assert line == "fgd over plain: +1.23 mAP50-95 points, 95 % interval +0.40 to +2.06, n=12: a gain"
    alone = verdict_line("fgd", "plain", Estimate(-1.5, None, None, 1))
    assert alone == "fgd over plain: -1.50 mAP50-95 points, n=1: no interval from one pair"


def test_methods_have_one_order_and_the_verdict_is_about_the_default():
    default = "heads+dfine"
    methods = [
        "fgd:features.ratio=0.1",
        default,
        "mine.yaml",
        "fgd",
        "plain",
        "ultralytics:dis=3",
        "fitnet",
        "ultralytics",
    ]
    assert sort_methods(methods) == [
        *("plain", "ultralytics", "ultralytics:dis=3", "fgd", "fgd:features.ratio=0.1", "fitnet"),
        *(default, "mine.yaml"),
    ]
    assert main_method(methods) == default
    assert main_method(["fgd:features.ratio=0.1", "fgd", "plain", "ultralytics"]) == "fgd"
    assert main_method(["plain", "fgd:features.ratio=0.1"]) == "fgd:features.ratio=0.1"


def test_cost_ratios_are_within_data_and_seed():
    runs = [
        example_run("fgd", 0, epoch_s=15.0),
        example_run("plain", 0, epoch_s=10.0),
        example_run("fgd", 1, epoch_s=40.0),
        example_run("plain", 1, epoch_s=20.0),
        example_run("fgd", 2, epoch_s=7.0),
        example_run("plain", 2, epoch_s=None),
    ]
    assert cost_ratios(runs, "fgd", "plain") == [1.5, 2.0]


def test_the_verdicts_of_a_comparison_with_few_labels_are_about_the_method_that_sees_the_frames():
    ours = "fgd+heads:frames=true,unlabeled_ratio=0.7"
    methods = ["plain", "plain:labels=all", "pseudo-labels", "heads+dfine", ours]
    assert main_method(methods) == ours
    assert main_method([method for method in methods if method != ours]) == "heads+dfine"
    assert sort_methods(methods)[:3] == ["plain", "plain:labels=all", "pseudo-labels"]
    assert {(ours, "pseudo-labels"), (ours, "heads+dfine"), ("plain:labels=all", "plain")} <= set(comparisons(methods))


def test_the_share_that_is_closed_is_of_the_seeds_that_all_three_have():
    runs = [
        *(example_run("plain", seed, 0.40) for seed in (0, 1, 2)),
        example_run("all", 0, 0.50),
        example_run("all", 1, 0.46),
        example_run("fgd", 0, 0.43),
        example_run("fgd", 1, 0.45),
        example_run("fgd", 2, 0.99),  # there is no such run with all labels
    ]
    assert share_closed(runs, "fgd", "all", "plain") == (pytest.approx(8 / 16), 2)
    assert share_closed(runs[:5], "fgd", "all", "plain") is None


@pytest.mark.parametrize("full", [0.40, 0.35])
def test_nothing_is_closed_where_there_is_no_gap(full):
    """Even if there is one on other seeds."""
    runs = [example_run("plain", seed, 0.40) for seed in (0, 1)]
    runs += [example_run("all", 0, full), example_run("all", 1, 0.60), example_run("fgd", 0, 0.43)]
    assert share_closed(runs, "fgd", "all", "plain") is None
