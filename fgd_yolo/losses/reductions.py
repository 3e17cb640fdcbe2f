"""The sums over a student's map that every FGD term is made of, with one gradient map for all of them.

Each term needs the map only through a few sums over its channels or cells. Plain autograd would keep or make a
full-size map for every step of every term; here forward works in one such map and backward in two, because the
gradient of all sums together is d * (rank 2) + sign(student) * (rank 2) + (rank 3), with d = student - teacher.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Reductions(NamedTuple):
    """Sums over a student's map; a group that was not asked for is None.

    Group 1: `cell_size` (B, H*W) and `channel_size` (B, C), mean |student| of each cell and channel.
    Group 2: `weighted_square` (B, H*W), sum over channels of channel_weight * d^2.
    Group 3: `context` (B, C), mean of the cells weighted by softmax(key); `mean_gap` (B, C), mean of d over cells;
    `spread` (B, C), sum over cells of (d - mean_gap)^2.
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
    sizes: bool,
    channel_weight: Tensor | None,
    key: nn.Conv2d | None,
) -> Reductions:
    """Sum up a student's map and its difference d from the teacher's.

    Gradients reach the student's map and the key; the rest counts as constant. Only first derivatives exist: asking
    for a gradient of the gradient raises RuntimeError.

    Args:
        student_map: (B, C, H, W).
        teacher_map: (B, C, H, W), the same type.
        sizes: whether to compute group 1.
        channel_weight: (B, C), at least 0, to compute group 2.
        key: convolution C -> 1, to compute group 3.

    Returns:
        The groups asked for, in the map's type.
    """
    weight, bias = (None, None) if key is None else (key.weight, key.bias)
    return Reductions(*_Reduce.apply(student_map, teacher_map, sizes, channel_weight, weight, bias))


class _Reduce(torch.autograd.Function):
    """Hand-written because autograd would hold a full-size map for each step."""

    @staticmethod
    def forward(ctx, student_map, teacher_map, sizes, channel_weight, key_weight, key_bias):
        student, teacher = student_map.flatten(2), teacher_map.flatten(2)
        work = torch.empty_like(student)
        cell_size = channel_size = weighted_square = context = mean_gap = spread = focus = None
        if sizes:
            torch.abs(student, out=work)
            cell_size, channel_size = work.mean(dim=1), work.mean(dim=2)
        if key_weight is not None:
            focus = torch.softmax(key_weight.flatten() @ student + key_bias, dim=1)
            context = _sum_cells(student, focus)
            torch.sub(student, teacher, out=work)
            mean_gap = work.mean(dim=2)
            # About its mean, not as sum d^2 - (sum d)^2 / HW: that would cancel once the contexts close the gap.
            spread = torch.linalg.vector_norm(work.sub_(mean_gap.unsqueeze(2)), dim=2).square()
        if channel_weight is not None:
            torch.sub(student, teacher, out=work).square_()
            weighted_square = _sum_channels(work, channel_weight)
        ctx.sizes = sizes
        ctx.save_for_backward(student_map, teacher_map, channel_weight, key_weight, focus, mean_gap)
        return cell_size, channel_size, weighted_square, context, mean_gap, spread

    @staticmethod
    @once_differentiable
    def backward(ctx, cell_size, channel_size, weighted_square, context, mean_gap, spread):
        """Names are those of forward; each now holds the gradient of its namesake."""
        student_map, teacher_map, channel_weight, key_weight, focus, mean_value = ctx.saved_tensors
        student, teacher = student_map.flatten(2), teacher_map.flatten(2)
        with torch.autocast(student.device.type, enabled=False):
            cells = student.shape[2]
            even = student.new_ones(len(student), cells)
            grad, work = torch.sub(student, teacher), torch.empty_like(student)
            on_difference, added, grad_key, grad_bias = [], [], None, None
            if channel_weight is not None:
                on_difference.append((2 * channel_weight, weighted_square))
            if key_weight is not None:
                grad_score = focus * (grad_focus := _sum_channels(student, context))
                grad_score -= focus * (focus * grad_focus).sum(dim=1, keepdim=True)
                grad_key = _sum_cells(student, grad_score).sum(dim=0).view_as(key_weight)
                grad_bias = grad_score.sum().view(1)
                on_difference.append((2 * spread, even))
                constant = mean_gap / cells - 2 * spread * mean_value
                key = key_weight.flatten().expand_as(context)
                added = [(constant, even), (context, focus), (key, grad_score)]
            if on_difference:
                grad.mul_(_outer(on_difference, work))
            else:
                grad.zero_()
            if ctx.sizes:
                torch.sign(student, out=work)
                grad.addcmul_(work, cell_size.unsqueeze(1), value=1 / student.shape[1])
                grad.addcmul_(work, channel_size.unsqueeze(2), value=1 / cells)
            if added:
                grad.baddbmm_(*_factors(added))
        return grad.view_as(student_map), None, None, None, grad_key, grad_bias


def _sum_cells(maps: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over cells, (B, C, HW) and (B, HW) -> (B, C); the row form is five times faster on a CPU."""
    return (weights.unsqueeze(1) @ maps.transpose(1, 2)).squeeze(1)


def _sum_channels(maps: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over channels, (B, C, HW) and (B, C) -> (B, HW)."""
    return (weights.unsqueeze(1) @ maps).squeeze(1)


def _factors(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Stack pairs of (B, C) and (B, HW) into the factors (B, C, rank) and (B, rank, HW) of their outer products."""
    of_channels, of_cells = zip(*pairs, strict=True)
    return torch.stack(of_channels, dim=2), torch.stack(of_cells, dim=1)


def _outer(pairs: list[tuple[Tensor, Tensor]], out: Tensor) -> Tensor:
    """Sum of the outer products of pairs of (B, C) and (B, HW), written into (B, C, HW)."""
    return torch.bmm(*_factors(pairs), out=out)
