"""Gradients over several ranks, which are threads here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fgd_yolo.distributed import gradients
from fgd_yolo.distributed.gradients import average_gradients
from ranks import SumOfThreads, in_threads


def parameters(*values: list[float] | None) -> list[nn.Parameter]:
    """Return parameters of two values each, with these gradients."""
    made = [nn.Parameter(torch.zeros(2)) for _ in values]
    for parameter, value in zip(made, values, strict=True):
        parameter.grad = None if value is None else torch.tensor(value)
    return made


@pytest.fixture
def averaged(monkeypatch):
    """Average the gradients of some ranks, and return them as lists."""

    def average(*ranks: list[nn.Parameter]) -> list[list]:
        group = SimpleNamespace(all_reduce=SumOfThreads(len(ranks)), get_world_size=lambda: len(ranks))
        monkeypatch.setattr(gradients, "dist", group)
        in_threads(lambda own, _: average_gradients(own), ranks)
        return [[None if own.grad is None else own.grad.tolist() for own in rank] for rank in ranks]

    return average


def test_every_rank_gets_the_mean(averaged):
    one, other = parameters([1.0, 2.0], [0.0, 8.0]), parameters([3.0, -2.0], [4.0, 0.0])
    assert averaged(one, other) == [[[2.0, 0.0], [2.0, 4.0]]] * 2


def test_a_gradient_that_one_rank_lacks_counts_as_zero(averaged):
    assert averaged(parameters(None), parameters([4.0, 2.0])) == [[[2.0, 1.0]]] * 2


def test_a_gradient_that_all_ranks_lack_stays_none(averaged):
    assert averaged(parameters(None, [1.0, 1.0]), parameters(None, [3.0, 3.0])) == [[None, [2.0, 2.0]]] * 2


def test_a_value_that_is_not_finite_reaches_every_rank(averaged):
    for own in averaged(parameters([float("inf"), 1.0]), parameters([1.0, 1.0])):
        assert own == [[float("inf"), 1.0]]


def test_three_ranks_share_one_mean(averaged):
    assert averaged(*(parameters([value, 0.0]) for value in (1.0, 2.0, 6.0))) == [[[3.0, 0.0]]] * 3


def test_without_parameters_nothing_is_exchanged(monkeypatch):
    monkeypatch.setattr(gradients, "dist", None)
    assert average_gradients([]) is None
