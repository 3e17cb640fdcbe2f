"""The global context block on its own."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods.global_context import GlobalContext
from unit.methods.cases import make_maps
from unit.methods.reference import in_context


def drawn_block(channels: int) -> GlobalContext:
    torch.manual_seed(11)
    block = GlobalContext(channels)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter))
    return block


def test_new_block_returns_its_input():
    feature_map = make_maps(6, 6)[1]
    assert torch.equal(GlobalContext(6)(feature_map), feature_map)


@pytest.mark.parametrize("channels", [2, 5, 8])
def test_block_equals_the_plain_loops(channels):
    block, feature_map = drawn_block(channels).double(), make_maps(3, channels, dtype=torch.float64)[1]
    params = dict(block.named_parameters())
    for image in range(2):
        expected = in_context(feature_map[image], params, "")
        assert torch.allclose(block(feature_map)[image], expected, rtol=1e-10)


def test_block_adds_one_vector_to_all_cells():
    feature_map = make_maps(6, 6)[1]
    added = drawn_block(6)(feature_map) - feature_map
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-5)
    assert added.abs().min() > 1e-3


def test_one_channel_works():
    feature_map = make_maps(1, 1)[0]
    drawn_block(1)(feature_map).sum().backward()
    assert feature_map.grad.isfinite().all()


def test_first_step_moves_the_last_convolution():
    block = GlobalContext(6)
    block(make_maps(6, 6)[1]).square().sum().backward()
    assert block.transform[-1].weight.grad.abs().max() > 0


def test_key_is_drawn_and_the_last_convolution_is_zero():
    block = GlobalContext(400)
    assert block.key.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.2)
    assert not any(values.any() for values in (block.key.bias, *block.transform[-1].parameters()))
