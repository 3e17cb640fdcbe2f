"""Which cells and which channels of a feature map matter, judged by the size of their values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fgd_yolo.methods.reductions import mean_sizes

MOST_ATTENTION = 10.0  # times the mean: a few cells must not take everything


class Attention(NamedTuple):
    """Attention of one map: `spatial` (B, H, W) with mean 1 over the cells, `channel` (B, C) with mean 1."""

    spatial: Tensor
    channel: Tensor


def attention(feature_map: Tensor, temperature: float) -> Attention:
    """Turn the mean absolute value of every cell and of every channel into a share of the total.

    Convention:
        spatial = H * W * softmax over the cells of mean_c |F| / T;
        channel = C * softmax over the channels of mean_hw |F| / T.

    Args:
        feature_map: (B, C, H, W).
        temperature: T, above 0. The smaller, the more a few large values take everything.

    Returns:
        Both attentions, in the map's type.

    Source:
        FGD, arXiv:2111.11837, section 3.1, attention masks A^S and A^C.
    """
    return attention_of_sizes(*mean_sizes(feature_map), feature_map.shape[2:], temperature)


def capped(focus: Attention) -> Attention:
    """Return an attention whose shares are at most 10 times the mean."""
    return Attention(*(share.clamp(max=MOST_ATTENTION) for share in focus))


def attention_of_sizes(cell_size: Tensor, channel_size: Tensor, grid: tuple[int, int], temperature: float) -> Attention:
    """Return the attention of a map whose mean |F| is known.

    Args:
        cell_size: (B, H*W), mean over channels.
        channel_size: (B, C), mean over cells.
        grid: (H, W).
        temperature: T, above 0.
    """
    spatial = cell_size.shape[1] * torch.softmax(cell_size / temperature, dim=1)
    channel = channel_size.shape[1] * torch.softmax(channel_size / temperature, dim=1)
    return Attention(spatial.unflatten(1, grid), channel)
