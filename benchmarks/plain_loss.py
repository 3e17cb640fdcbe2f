"""A plain implementation of the FGD terms, which the benchmark compares the package with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softmax

from fgd_yolo.methods import FGDLoss


def plain_terms(
    loss: FGDLoss, student_map: Tensor, teacher_map: Tensor, boxes: Tensor, image_index: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute fg, bg, attn and rel with the loss's own parameters, with every step as a full-size map.

    Args:
        loss: the FGD loss whose weights, alignment and context blocks are used.
        student_map: (B, student channels, H, W).
        teacher_map: (B, C, H, W).
        boxes: (M, 4) x centre, y centre, width, height as fractions of the input.
        image_index: (M,) index of the image of each box.

    Source:
        The order of steps is that of the FGD authors' code: boxes are painted one by one, and both maps are multiplied
        by the square roots of mask and attention.
    """
    student_map = student_map if loss.align is None else loss.align(student_map)
    B, C, H, W = student_map.shape
    foreground, background = _masks(boxes, image_index, student_map)
    spatial, channel = _attention(teacher_map, loss.temperature)
    student_spatial, student_channel = _attention(student_map, loss.temperature)

    def weighted(values: Tensor) -> tuple[Tensor, Tensor]:
        values = values * spatial.view(B, 1, H, W).sqrt()
        values = values * channel.view(B, C, 1, 1).sqrt()
        return values * foreground.sqrt(), values * background.sqrt()

    def with_context(values: Tensor, block: nn.Module) -> Tensor:
        attention = softmax(block.key(values).view(B, H * W, 1), dim=1)
        return values + block.transform((values.view(B, C, H * W) @ attention).view(B, C, 1, 1))

    (student_fg, student_bg), (teacher_fg, teacher_bg) = weighted(student_map), weighted(teacher_map)
    distance = (student_spatial - spatial).abs().sum() + (student_channel - channel).abs().sum()
    relation = with_context(student_map, loss.student_context), with_context(teacher_map, loss.teacher_context)
    return (
        loss.weights.fg * mse_loss(student_fg, teacher_fg, reduction="sum") / B,
        loss.weights.bg * mse_loss(student_bg, teacher_bg, reduction="sum") / B,
        loss.weights.attn * distance / B,
        loss.weights.rel * mse_loss(*relation, reduction="sum") / B,
    )


def _masks(boxes: Tensor, image_index: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground and background weights, (B, 1, H, W) each, box by box."""
    B, _, H, W = like.shape
    foreground, background = like.new_zeros(B, 1, H, W), like.new_zeros(B, 1, H, W)
    for image in range(B):
        image_boxes = boxes[image_index == image]
        low, high = image_boxes[:, :2] - image_boxes[:, 2:] / 2, image_boxes[:, :2] + image_boxes[:, 2:] / 2
        left, top = (low * low.new_tensor([W, H])).floor().int().unbind(dim=1)
        right, bottom = (high * high.new_tensor([W, H])).ceil().int().unbind(dim=1)
        weight = 1.0 / (right + 1 - left) / (bottom + 1 - top)
        for box in range(len(image_boxes)):
            region = foreground[image, 0, top[box] : bottom[box] + 1, left[box] : right[box] + 1]
            region.copy_(torch.maximum(region, weight[box]))
        background[image] = foreground[image] == 0
        if background[image].any():
            background[image] /= background[image].sum()
    return foreground, background


def _attention(values: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Spatial attention (B, H*W) and channel attention (B, C)."""
    size = values.abs()
    cells, channels = size.mean(dim=1).flatten(1), size.mean(dim=3).mean(dim=2)
    spatial, channel = softmax(cells / temperature, dim=1), softmax(channels / temperature, dim=1)
    return cells.shape[1] * spatial, channels.shape[1] * channel
