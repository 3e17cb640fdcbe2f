"""Only tensors of half precision change."""

from __future__ import annotations

import torch

from fgd_yolo.training.speed.half_precision import to_float32


def test_only_half_precision_becomes_float32_and_keeps_its_gradient():
    half = torch.ones(1, dtype=torch.bfloat16, requires_grad=True)
    double, labels = torch.zeros(1, dtype=torch.float64), torch.ones(1).long()
    value = {"a": (half, [torch.zeros(1, dtype=torch.float16)]), "b": [double, labels, None, "text"]}
    converted = to_float32(value)
    assert converted["a"][0].dtype == converted["a"][1][0].dtype == torch.float32
    assert converted["b"][0] is double and converted["b"][1] is labels and converted["b"][2:] == [None, "text"]
    converted["a"][0].sum().backward()
    assert half.grad == 1
