"""Cells of a level's grid that objects fill: how boxes, rotated boxes and masks become weights of the cells."""

from __future__ import annotations

import torch
from torch import Tensor


def rectangle_cells(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """List the cells of rectangles, one entry for each pair of a rectangle and a cell in it.

    These are far fewer than rectangles times the cells of a map.

    Args:
        first: (M, 2) integers, column and row of each rectangle's first cell.
        last: (M, 2) integers, the same of its last cell, included; before `first` if the rectangle is empty.

    Returns:
        Rectangle, column and row of every pair, (pairs,) each.
    """
    columns, rows = (last - first + 1).clamp(min=0).unbind(dim=1)
    filled = rows * columns
    rectangle = torch.repeat_interleave(filled)
    position = torch.arange(len(rectangle), device=first.device) - (filled.cumsum(0) - filled)[rectangle]
    x = first[rectangle, 0] + position % columns[rectangle]
    y = first[rectangle, 1] + position // columns[rectangle]
    return rectangle, x, y


def largest_weights(cell: Tensor, weight: Tensor, batch_size: int, grid: tuple[int, int]) -> Tensor:
    """Return the largest weight that is given to each cell, (B, H, W), and 0 where there is none.

    Args:
        cell: (pairs,) integers, (image * H + row) * W + column of the cell.
        weight: (pairs,), at least 0.
        batch_size: B.
        grid: (H, W) of the level, in cells.
    """
    weights = weight.new_zeros(batch_size * grid[0] * grid[1]).scatter_reduce_(0, cell, weight, "amax")
    return weights.view(batch_size, *grid)
