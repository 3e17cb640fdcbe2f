"""On a CPU, `amp=bf16` runs the forward pass in bfloat16 and everything after it in float32."""

from __future__ import annotations

import logging
from copy import deepcopy

import pytest
import torch

from fgd_yolo.errors import UsageError
from fgd_yolo.neck import HeadHook, NeckHook
from fgd_yolo.training.speed import cpu_autocast
from fgd_yolo.training.speed.cpu_autocast import Bfloat16Forward, check_bfloat16
from training import batch


def dtypes(value) -> set[torch.dtype]:
    if isinstance(value, torch.Tensor):
        return {value.dtype} if value.is_floating_point() else set()
    return set().union(*map(dtypes, value.values() if isinstance(value, dict) else value))


def test_layers_compute_in_bfloat16_and_what_the_loss_sees_is_float32(model):
    inside, neck, head = [], NeckHook(model), HeadHook(model)
    model.model[0].conv.register_forward_hook(lambda layer, inputs, output: inside.append(output.dtype))
    Bfloat16Forward(model).attach()
    outputs = model(batch()["img"])
    assert inside == [torch.bfloat16]
    assert dtypes(outputs) == dtypes(neck.pop()) == dtypes(head.pop()) == {torch.float32}
    assert dtypes(list(model.parameters())) == {torch.float32}


def test_the_loss_is_computed_outside_autocast_and_close_to_that_of_float32(model):
    exact, _ = deepcopy(model)(batch())
    model.criterion, states = model.init_criterion(), []
    compute = type(model.criterion).__call__

    class Watching(type(model.criterion)):
        def __call__(self, preds, labels):
            states.append((torch.is_autocast_enabled("cpu"), dtypes(preds)))
            return compute(self, preds, labels)

    model.criterion.__class__ = Watching
    Bfloat16Forward(model).attach()
    loss, _ = model(batch())
    loss.sum().backward()
    assert states == [(False, {torch.float32})]
    assert not torch.equal(loss, exact)
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.05)
    assert all(weight.grad.dtype == torch.float32 for weight in model.parameters() if weight.grad is not None)


def test_the_gradient_of_the_loss_reaches_the_stored_neck_maps(model):
    neck = NeckHook(model)
    Bfloat16Forward(model).attach()
    loss, _ = model(batch())
    assert all(gradient.any() for gradient in torch.autograd.grad(loss.sum(), neck.pop()))


def test_a_validation_is_in_float32(model):
    image = batch()["img"]
    expected = deepcopy(model).eval()(image)[0]
    Bfloat16Forward(model).attach()
    assert torch.equal(model.eval()(image)[0], expected)


def test_detaching_leaves_no_trace_and_a_block_without_it_restores_it(model):
    untouched = vars(deepcopy(model)).keys()
    forward = Bfloat16Forward(model)
    forward.attach()
    forward.attach()
    with forward.detached():
        assert vars(model).keys() == untouched
        assert not model.model[-1]._forward_hooks and not model.model[-1]._forward_pre_hooks
    assert "predict" in vars(model)
    forward.detach()
    forward.detach()
    with forward.detached():
        pass
    assert vars(model).keys() == untouched and not model.model[-1]._forward_hooks


@pytest.mark.parametrize("capable", [True, False])
def test_a_new_training_is_refused_where_bfloat16_would_be_slower_and_a_resumed_one_warned(
    capable, monkeypatch, caplog
):
    monkeypatch.setattr(cpu_autocast, "has_bfloat16", lambda: capable)
    for amp, device_type in ((True, "cpu"), (False, "cpu"), ("fp16", "cpu"), ("bf16", "cuda")):
        check_bfloat16(amp, device_type)
    with caplog.at_level(logging.WARNING):
        check_bfloat16("bf16", "cpu", recorded=True)
    assert ("neither AVX512-BF16 nor AMX" in caplog.text) == (not capable)
    if capable:
        check_bfloat16("bf16", "cpu")
        return
    with pytest.raises(
        UsageError, match=r"^amp=bf16: this CPU has neither .* slower than float32 here: leave amp out$"
    ):
        check_bfloat16("bf16", "cpu")


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_either_set_of_instructions_is_enough(avx512, amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert cpu_autocast.has_bfloat16() == (avx512 or amx)
