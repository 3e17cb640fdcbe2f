"""Let oneDNN compute the 1x1 convolutions on a CPU, which torch leaves to slower code for small batches."""

from __future__ import annotations

from torch import nn


def prefer_onednn(model: nn.Module) -> None:
    """Let torch give the 1x1 convolutions of a model to oneDNN, in place; their results stay the same but for rounding.

    With one thread and fewer than 16 images, torch computes a 1x1 convolution as a matrix product in MKL, which on an
    AMD processor is half as fast as oneDNN. A dilated convolution it leaves to oneDNN, and there is nothing to dilate
    in a kernel of one cell.

    Args:
        model: a model on a CPU that is never saved or exported, since other programs may be slower with a dilation.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride == (1, 1):
            layer.dilation = (2, 2)


def prefer_onednn_in_alignments(losses: nn.Module) -> None:
    """Let oneDNN compute the alignments of loss modules; the convolutions of context blocks are too small to gain."""
    for module in losses.modules():
        if isinstance(alignment := getattr(module, "align", None), nn.Module):
            prefer_onednn(alignment)
