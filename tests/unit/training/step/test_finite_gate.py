"""Terms that are not finite and all their gradients become 0; those of other levels are untouched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgd_yolo.training.step.finite_gate import FiniteGate


def level(value: float) -> tuple[torch.Tensor, nn.Parameter, torch.Tensor, FiniteGate]:
    """Return a map, a trained weight, the terms made of both, and their gate; the second term is sqrt(value)."""
    own_map, weight = torch.tensor([value, 2.0], requires_grad=True), nn.Parameter(torch.tensor(3.0))
    gate = FiniteGate([weight])
    guarded = gate.guard(own_map)
    return own_map, weight, gate.close([(guarded * weight).sum(), (guarded[0] * weight).sqrt()]), gate


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_terms_that_are_not_finite_are_0_and_train_nothing(value):
    own_map, weight, terms, gate = level(value)
    assert not gate.finite and terms.tolist() == [0, 0]
    terms.sum().backward()
    assert own_map.grad.tolist() == [0, 0] and weight.grad == 0


def test_finite_terms_and_their_gradients_pass_unchanged():
    own_map, weight, terms, gate = level(4.0)
    assert gate.finite
    torch.testing.assert_close(terms, torch.tensor([18.0, 12**0.5]))
    terms.sum().backward()
    torch.testing.assert_close(own_map.grad, torch.tensor([3 + 3 / (2 * 12**0.5), 3.0]))
    torch.testing.assert_close(weight.grad, torch.tensor(6 + 4 / (2 * 12**0.5)))


def test_other_uses_of_a_map_keep_their_gradient():
    own_map, _, terms, _ = level(float("nan"))
    (terms.sum() + (own_map[1] * 5)).backward()
    assert own_map.grad.tolist() == [0, 5]


def test_each_batch_decides_anew():
    weight = nn.Parameter(torch.tensor(2.0))
    gate = FiniteGate([weight])
    for value, gradient in ((float("nan"), 0.0), (5.0, 5.0), (float("inf"), 0.0)):
        weight.grad = None
        gate.close([weight * value]).sum().backward()
        assert weight.grad == gradient


def test_what_needs_no_gradient_is_returned_as_it_is():
    gate, value = FiniteGate(), torch.ones(2)
    assert gate.guard(value) is value and gate.guard(None) is None
