"""Attention of cells and channels."""

from __future__ import annotations

import torch

from fgd_yolo.methods.attention_maps import attention
from unit.methods.cases import make_maps
from unit.methods.reference import attentions


def test_attention_equals_the_plain_loops():
    _, feature_map = make_maps(3, 5, dtype=torch.float64)
    actual = attention(feature_map, 0.5)
    for image in range(2):
        spatial, channel = attentions(feature_map[image], 0.5)
        assert torch.allclose(actual.spatial[image], torch.stack([torch.stack(row) for row in spatial]), rtol=1e-12)
        assert torch.allclose(actual.channel[image], torch.stack(channel), rtol=1e-12)


def test_attention_has_mean_one_over_cells_and_over_channels():
    actual = attention(make_maps(3, 5)[1], 0.5)
    assert torch.allclose(actual.spatial.mean(dim=(1, 2)), torch.ones(2))
    assert torch.allclose(actual.channel.mean(dim=1), torch.ones(2))


def test_sign_of_a_value_does_not_matter():
    feature_map = make_maps(3, 5)[1]
    for original, mirrored in zip(attention(feature_map, 0.5), attention(-feature_map, 0.5), strict=True):
        assert torch.equal(original, mirrored)


def test_high_temperature_makes_attention_uniform():
    for weights in attention(make_maps(3, 5)[1], 1e9):
        assert torch.allclose(weights, torch.ones_like(weights), atol=1e-6)


def test_one_outlier_takes_all_attention_without_overflow():
    feature_map = torch.ones(1, 4, 3, 3)
    feature_map[0, 2, 1, 1] = 1e5
    actual = attention(feature_map, 0.5)
    assert actual.spatial[0, 1, 1] == 9 and actual.channel[0, 2] == 4


def test_gradient_is_right_in_float64():
    feature_map = make_maps(3, 5, grid=(3, 4), dtype=torch.float64)[0]
    assert torch.autograd.gradcheck(lambda values: tuple(attention(values, 0.5)), feature_map)
