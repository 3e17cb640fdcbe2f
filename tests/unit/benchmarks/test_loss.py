"""The loss benchmark measures two implementations of the same arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import loss as loss_benchmark
from benchmarks.loss import Comparison, Cost, Level, format_table
from fgd_yolo.errors import FGDError

TINY = Level(images=2, student_channels=4, teacher_channels=16, cells=12, boxes=3)
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("level", [TINY, Level(2, 16, 16, 12, 1)], ids=["aligned", "equal widths"])
def test_implementations_agree_in_every_term_and_gradient(level):
    loss, maps = loss_benchmark.make_level(level, "cpu")
    assert loss_benchmark.disagreement(loss, maps) <= 1e-5


def test_implementations_that_differ_are_refused(monkeypatch):
    def wrong(loss, *maps):
        fg, *rest = loss(*maps)
        return (1.01 * fg, *rest)

    monkeypatch.setitem(loss_benchmark.IMPLEMENTATIONS, "fgd_yolo", wrong)
    with pytest.raises(FGDError, match="differ"):
        loss_benchmark.compare(TINY, "cpu", repeats=1)


def test_no_term_of_the_measured_level_is_zero():
    loss, maps = loss_benchmark.make_level(TINY, "cpu")
    assert all(term > 0 for term in loss(*maps))


@pytest.mark.slow
def test_memory_of_a_pass_is_at_least_its_gradient():
    level = Level(images=4, student_channels=64, teacher_channels=64, cells=64)
    gradient_bytes = 4 * 64 * 64 * 64 * 4
    for name in loss_benchmark.IMPLEMENTATIONS:
        extra_bytes = loss_benchmark.in_fresh_process(loss_benchmark.extra_bytes_on_cpu, name, level)
        assert gradient_bytes <= extra_bytes < 100 * gradient_bytes, name


def test_table_shows_both_costs_and_both_ratios():
    text = format_table(TINY, Comparison("a machine", 1e-6, Cost(0.9, 300 * 2**20), Cost(0.3, 120 * 2**20)))
    for expected in (
        "a machine",
        "(2, 16, 12, 12)",
        "900.0 ms",
        "300.0 ms",
        "300 MiB",
        "3.00 x faster",
        "2.50 x smaller",
    ):
        assert expected in text


def test_help_shows_an_example_and_a_bad_number_is_one_clear_line():
    run = [sys.executable, "-m", "benchmarks.loss"]
    options = {"capture_output": True, "text": True, "cwd": ROOT}
    shown = subprocess.run([*run, "--help"], check=True, **options).stdout
    assert "python -m benchmarks.loss --repeats" in shown
    refused = subprocess.run([*run, "--repeats", "0"], check=False, **options)
    assert refused.returncode == 2 and "at least 1" in refused.stderr and refused.stderr.count("\n") == 1


def test_gradients_start_empty_on_every_repeat():
    loss, maps = loss_benchmark.make_level(TINY, "cpu")
    for _ in range(2):
        loss_benchmark.run_once(loss_benchmark.package_terms, loss, maps)
    twice = maps[0].grad.clone()
    maps[0].grad = None
    sum(loss(*maps)).backward()
    assert torch.equal(twice, maps[0].grad)
