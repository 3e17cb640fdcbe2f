"""The sums over a student's map that every FGD term is made of, with one gradient map for all of them.

Each term needs the map only through a few sums over its channels or cells. Plain autograd would make a
full-size map for every step of every term. Here forward makes none (it works in small blocks of channels) and
backward one, the gradient of all sums together: with d = student - teacher it is
d * (rank 2) + sign(student) * (rank 2) + (rank 3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fgd_yolo.methods.standardisation import channel_blocks, standardise, unstandardise_gradient


class Reductions(NamedTuple):
    """Sums over a student's map; a group that was not requested is None.

    Group 1: `cell_size` (B, H*W) and `channel_size` (B, C), mean |student| of each cell and channel.
    Group 2: `weighted_square` (B, H*W), sum over channels of channel_weight * d^2.
    Group 3: `context` (B, C), mean of the cells weighted by softmax(key); `mean_gap` (B, C), mean of d over
    cells; `spread` (B, C), sum over cells of (d - mean_gap)^2.
    """

    cell_size: Tensor | None
    channel_size: Tensor | None
    weighted_square: Tensor | None
    context: Tensor | None
    mean_gap: Tensor | None
    spread: Tensor | None


def reduce_maps(
    student_map: Tensor,
    teacher_map: Tensor,
    *,
    standardised: bool,
    sizes: bool,
    channel_weight: Tensor | None,
    key: nn.Conv2d | None,
) -> Reductions:
    """Sum up a student's map and its difference d from the teacher's.

    Gradients reach the student's map and the key; everything else is constant. Only first derivatives exist: a
    gradient of the gradient raises RuntimeError.

    Args:
        student_map: (B, C, H, W).
        teacher_map: (B, C, H, W), the same dtype.
        standardised: whether to standardise the student's map first (`standardisation.standardised`), which makes no
            further pass over it.
        sizes: whether to compute group 1.
        channel_weight: (B, C), at least 0, to compute group 2.
        key: convolution C -> 1, to compute group 3.

    Returns:
        The requested groups, in the dtype of the map.
    """
    weight, bias = (None, None) if key is None else (key.weight, key.bias)
    return Reductions(*_Reduce.apply(student_map, teacher_map, standardised, sizes, channel_weight, weight, bias))


def mean_sizes(feature_map: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean absolute value of each cell (B, H*W) and of each channel (B, C) of a map."""
    maps = feature_map.flatten(2)
    cell_sum, channel_means = 0, []
    for block in channel_blocks(maps):
        size = maps[:, block].abs()
        cell_sum = cell_sum + size.sum(dim=1)
        channel_means.append(size.mean(dim=2))
    return cell_sum / maps.shape[1], torch.cat(channel_means, dim=1)


class _Reduce(torch.autograd.Function):
    """Hand-written because autograd would hold a full-size map for each step."""

    @staticmethod
    def forward(ctx, student_map, teacher_map, standardised, sizes, channel_weight, key_weight, key_bias):
        raw, teacher = student_map.flatten(2), teacher_map.flatten(2)
        student, scale = (torch.empty_like(raw), raw.new_empty(raw.shape[1])) if standardised else (raw, None)
        cell_size = channel_size = weighted_square = context = mean_gap = spread = cell_weight = None
        if sizes:
            cell_size, channel_size = _zeros(raw)
        if key_weight is not None:
            key, (score, context) = key_weight.flatten(), _zeros(raw)
            mean_gap, spread = torch.empty_like(context), torch.empty_like(context)
        if channel_weight is not None:
            weighted_square = _zeros(raw)[0]
        for block in channel_blocks(raw):
            part = student[:, block]
            if standardised:
                scale[block] = standardise(raw[:, block], out=part)
            if sizes:
                size = part.abs()
                cell_size += size.sum(dim=1)
                channel_size[:, block] = size.mean(dim=2)
            if key_weight is not None:
                score += key[block] @ part
        if key_weight is not None:
            cell_weight = torch.softmax(score + key_bias, dim=1)
        for block in channel_blocks(raw) if key_weight is not None or channel_weight is not None else ():
            difference = student[:, block] - teacher[:, block]
            if key_weight is not None:
                context[:, block] = _sum_cells(student[:, block], cell_weight)
                mean_gap[:, block] = difference.mean(dim=2)
                # About its mean: sum d^2 - (sum d)^2 / HW cancels once the contexts have closed the gap.
                varying = difference - mean_gap[:, block].unsqueeze(2)
                spread[:, block] = torch.linalg.vector_norm(varying, dim=2).square()
            if channel_weight is not None:
                weighted_square += _sum_channels(difference.square_(), channel_weight[:, block])
        ctx.sizes, ctx.shape = sizes, student_map.shape
        ctx.save_for_backward(student, teacher, scale, channel_weight, key_weight, cell_weight, mean_gap)
        return (cell_size / raw.shape[1] if sizes else None), channel_size, weighted_square, context, mean_gap, spread

    @staticmethod
    @once_differentiable
    def backward(ctx, cell_size, channel_size, weighted_square, context, mean_gap, spread):
        """Return the gradients; each argument is the gradient of the output of the same name in forward."""
        student, teacher, scale, channel_weight, key_weight, cell_weight, mean_value = ctx.saved_tensors
        cells = student.shape[2]
        ones = student.new_ones(len(student), cells)
        on_difference, added, grad_key, grad_bias = [], [], None, None
        with torch.autocast(student.device.type, enabled=False):
            if channel_weight is not None:
                on_difference.append((2 * channel_weight, weighted_square))
            if key_weight is not None:
                grad_weight = _sum_channels(student, context)
                grad_score = cell_weight * (grad_weight - (cell_weight * grad_weight).sum(dim=1, keepdim=True))
                grad_key = _sum_cells(student, grad_score).sum(dim=0).view_as(key_weight)
                grad_bias = grad_score.sum().view(1)
                on_difference.append((2 * spread, ones))
                constant = mean_gap / cells - 2 * spread * mean_value
                added = [
                    (constant, ones),
                    (context, cell_weight),
                    (key_weight.flatten().expand_as(context), grad_score),
                ]
            grad = torch.empty_like(student) if on_difference else torch.zeros_like(student)
            for block in channel_blocks(student):
                part = grad[:, block]
                if on_difference:
                    torch.sub(student[:, block], teacher[:, block], out=part).mul_(_outer(on_difference, block))
                if ctx.sizes:
                    sign = student[:, block].sign()
                    part.addcmul_(sign, cell_size.unsqueeze(1), value=1 / student.shape[1])
                    part.addcmul_(sign, channel_size[:, block].unsqueeze(2), value=1 / cells)
                if added:
                    part.add_(_outer(added, block))
                if scale is not None:
                    unstandardise_gradient(part, student[:, block], scale[block])
        return grad.view(ctx.shape), None, None, None, None, grad_key, grad_bias


def _zeros(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return a zero for each cell (B, HW) and each channel (B, C) of (B, C, HW)."""
    B, C, cells = maps.shape
    return maps.new_zeros(B, cells), maps.new_zeros(B, C)


def _sum_cells(maps: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over cells, (B, C, HW) and (B, HW) -> (B, C). A row is faster than a column."""
    return (weights.unsqueeze(1) @ maps.transpose(1, 2)).squeeze(1)


def _sum_channels(maps: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over channels, (B, C, HW) and (B, C) -> (B, HW)."""
    return (weights.unsqueeze(1) @ maps).squeeze(1)


def _outer(pairs: list[tuple[Tensor, Tensor]], block: slice) -> Tensor:
    """Sum of the outer products of pairs of (B, C) and (B, HW), for one block of channels."""
    of_channels, of_cells = zip(*pairs, strict=True)
    return torch.stack(of_channels, dim=2)[:, block] @ torch.stack(of_cells, dim=1)
