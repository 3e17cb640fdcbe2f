"""Standardised channels and their gradient, against plain loops and against differences."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import standardisation
from fgd_yolo.methods.standardisation import standardised
from unit.methods.cases import make_maps


def by_loops(maps):
    """Every channel less its mean, over its standard deviation, value by value."""
    result = torch.empty_like(maps)
    for channel in range(maps.shape[1]):
        values = maps[:, channel].flatten().tolist()
        mean = sum(values) / len(values)
        deviation = (sum((value - mean) ** 2 for value in values) / len(values) + 1e-5) ** 0.5
        result[:, channel] = torch.tensor([(value - mean) / deviation for value in values]).view_as(maps[:, channel])
    return result


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("channels_at_once", [1, 2, 6])
def test_every_channel_is_standardised_over_the_batch(channels_at_once, offset, monkeypatch):
    maps = make_maps(4, 6)[1] * 100 + offset
    monkeypatch.setattr(standardisation, "BLOCK_VALUES", channels_at_once * maps.shape[0] * maps[0, 0].numel())
    torch.testing.assert_close(standardised(maps), by_loops(maps.double()).float(), rtol=1e-5, atol=1e-5)


def test_a_channel_without_differences_is_zero_and_so_is_a_single_value():
    assert not standardised(torch.full((2, 3, 4, 4), 7.0)).any()
    assert not standardised(torch.rand(1, 3, 1, 1)).any()


def test_the_gradient_is_right_in_float64(monkeypatch):
    maps = make_maps(3, 3, grid=(3, 2), dtype=torch.float64)[0]
    monkeypatch.setattr(standardisation, "BLOCK_VALUES", 2 * 2 * 6)
    assert torch.autograd.gradcheck(standardised, (maps,))


def test_maps_with_channels_last_give_the_same():
    maps = make_maps(6, 6)[0]
    last = maps.detach().to(memory_format=torch.channels_last).requires_grad_()
    weights = torch.rand_like(maps)
    losses = [(standardised(each) * weights).sum() for each in (maps, last)]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, each)[0] for loss, each in zip(losses, (maps, last), strict=True)]
    torch.testing.assert_close(*gradients)
