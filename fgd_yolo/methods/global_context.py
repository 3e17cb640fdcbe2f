"""The global context block: adds a summary of the map to each of its cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalContext(nn.Module):
    """Add one vector, a summary of the map, to every cell.

    A one-channel key weights the cells, their weighted mean is the context, and a bottleneck turns it into the
    vector. The last convolution starts at zero, so a new block returns its input.

    Args:
        channels: C of the map, at least 1.

    Source:
        FGD, arXiv:2111.11837, section 3.2, block R (a GcBlock, arXiv:1904.11492). Initial values as in the
        authors' code: the key by Kaiming's normal rule over its inputs, the last convolution zero.
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(1, channels // 2)
        self.key = nn.Conv2d(channels, 1, kernel_size=1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, kernel_size=1),
        )
        nn.init.kaiming_normal_(self.key.weight, mode="fan_in")
        for zeroed in (self.key.bias, self.transform[-1].weight, self.transform[-1].bias):
            nn.init.zeros_(zeroed)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the map (B, C, H, W) plus its `shift`."""
        return feature_map + self.shift(feature_map)

    def shift(self, feature_map: Tensor) -> Tensor:
        """Return what `forward` adds to every cell of a (B, C, H, W) map, as (B, C, 1, 1)."""
        cells = feature_map.flatten(2)
        weights = torch.softmax(self.key(feature_map).flatten(2), dim=2)
        return self.shift_of_context((weights @ cells.transpose(1, 2)).squeeze(1))

    def shift_of_context(self, context: Tensor) -> Tensor:
        """Return the shift (B, C, 1, 1) of a map whose context (B, C) is known."""
        return self.transform(context[:, :, None, None])
