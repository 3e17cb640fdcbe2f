"""Gradients of weights that a second thread computes are those of PyTorch to the last bit."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from fgd_yolo.training.speed import weight_gradients
from fgd_yolo.training.speed.cpu_autocast import Bfloat16Forward
from fgd_yolo.training.speed.weight_gradients import WeightGradients
from training import batch


def gradients(model: nn.Module, passes: int = 2) -> dict[str, torch.Tensor]:
    """Return the gradients of some backward passes, added up."""
    model.zero_grad()
    for _ in range(passes):
        model(batch())[0].sum().backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_every_gradient_is_the_same_to_the_last_bit_when_backward_returns(bfloat16, model):
    if bfloat16:
        Bfloat16Forward(model).attach()
    model.model[1].conv.weight.requires_grad = False
    expected = gradients(model)
    beside = WeightGradients(model)
    beside.attach()
    found = gradients(model)
    assert len(beside._convolutions) > 20 and not beside._pending
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_convolutions_with_strides_groups_and_dilations_are_the_same_too():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.Conv2d(8, 8, 3, 1, 2, dilation=2, groups=4, bias=False),
        nn.Conv2d(8, 4, 1, bias=False),
        nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 2, 1),
    ]
    net, image = nn.Sequential(*layers), torch.rand(2, 3, 16, 16)
    net(image).square().sum().backward()
    expected = [weight.grad.clone() for weight in net.parameters()]
    net.zero_grad()
    beside = WeightGradients(net)
    beside.attach()
    assert beside._convolutions == layers[:3], "the others are left to PyTorch"
    net(image).square().sum().backward()
    assert all(torch.equal(weight.grad, one) for weight, one in zip(net.parameters(), expected, strict=True))


def test_a_forward_pass_without_gradients_is_that_of_pytorch(model):
    image = batch()["img"]
    model.eval()
    with torch.no_grad():
        expected = model(image)[0]
        WeightGradients(model).attach()
        assert torch.equal(model(image)[0], expected)


def test_an_error_in_the_second_thread_is_raised_by_backward(model, monkeypatch):
    beside = WeightGradients(model)
    beside.attach()

    def fail(*operands):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(weight_gradients, "_add_gradient", fail)
    loss, _ = model(batch())
    with pytest.raises(RuntimeError, match="out of memory"):
        loss.sum().backward()


def test_detaching_leaves_no_trace_and_a_block_without_it_restores_it(model):
    untouched = [vars(deepcopy(layer)).keys() for layer in model.modules()]
    beside = WeightGradients(model)
    beside.attach()
    beside.attach()
    with beside.detached():
        assert [vars(layer).keys() for layer in model.modules()] == untouched
        deepcopy(model)
    assert "_conv_forward" in vars(model.model[0].conv)
    beside.detach()
    beside.detach()
    assert [vars(layer).keys() for layer in model.modules()] == untouched


def test_a_copy_of_the_live_model_computes_the_same(model):
    expected = gradients(model)
    beside = WeightGradients(model)
    beside.attach()
    found = gradients(deepcopy(model))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_while_paused_only_what_is_asked_for_gets_a_gradient(model):
    beside = WeightGradients(model)
    beside.attach()
    image = batch()["img"].requires_grad_()
    loss = model({**batch(), "img": image})[0].sum()
    (expected,) = torch.autograd.grad(loss, image, retain_graph=True)
    model.zero_grad()
    with beside.paused():
        (found,) = torch.autograd.grad(loss, image, retain_graph=True)
    assert torch.equal(found, expected) and all(weight.grad is None for weight in model.parameters())
    loss.backward()
    assert model.model[0].conv.weight.grad is not None
