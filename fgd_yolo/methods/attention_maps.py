"""Spatial and channel attention: the cells and channels of a feature map with large values count more."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fgd_yolo.config.method_options import FeatureOptions, FGDOptions, Scale
from fgd_yolo.methods.reductions import mean_sizes
from fgd_yolo.methods.standardisation import standardised

MAX_ATTENTION = 10.0  # times the mean, so that a few cells cannot take all the attention
_DEFAULT = FGDOptions()


class AttentionSettings(NamedTuple):
    """How attention is computed.

    Args:
        temperature: T of the spatial and the channel attention.
        scale: "paper" uses the map unchanged; "free" standardises its channels first and caps the attention.
    """

    temperature: float = _DEFAULT.temperature
    scale: Scale = _DEFAULT.scale

    @classmethod
    def of(cls, options: FeatureOptions) -> AttentionSettings:
        """Return the settings of FGD's options; the defaults for other methods, which have no attention."""
        return cls(options.temperature, options.scale) if isinstance(options, FGDOptions) else cls()

    def attention(self, feature_map: Tensor) -> Attention:
        """Return the attention of a (B, C, H, W) map.

        With "free", channels are standardised over all images of the map: one image in a figure, a batch in the loss.
        """
        if self.scale == "paper":
            return attention(feature_map, self.temperature)
        return capped(attention(standardised(feature_map), self.temperature))


class Attention(NamedTuple):
    """Attention of one map: `spatial` (B, H, W) with mean 1 over the cells, `channel` (B, C) with mean 1."""

    spatial: Tensor
    channel: Tensor


def attention(feature_map: Tensor, temperature: float) -> Attention:
    """Return the softmax of the mean absolute values, over cells and over channels, scaled to mean 1.

    Convention:
        spatial = H * W * softmax over the cells of mean_c |F| / T;
        channel = C * softmax over the channels of mean_hw |F| / T.

    Args:
        feature_map: (B, C, H, W).
        temperature: T, above 0. The smaller T, the more the attention concentrates on the largest values.

    Returns:
        Both attentions, in the dtype of the map.

    Source:
        FGD, arXiv:2111.11837, section 3.1, attention masks A^S and A^C.
    """
    return attention_of_sizes(*mean_sizes(feature_map), feature_map.shape[2:], temperature)


def capped(attention: Attention) -> Attention:
    """Return an attention with values of at most 10 times the mean."""
    return Attention(*(values.clamp(max=MAX_ATTENTION) for values in attention))


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
