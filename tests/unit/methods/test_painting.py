"""The cells of rectangles, and the largest weight of each cell."""

from __future__ import annotations

import torch

from fgd_yolo.methods.painting import largest_weights, rectangle_cells


def test_every_pair_of_a_rectangle_and_a_cell_is_listed_once():
    first, last = torch.tensor([[1, -2], [3, 3], [5, 5]]), torch.tensor([[2, 0], [2, 9], [5, 5]])
    pairs = list(zip(*(values.tolist() for values in rectangle_cells(first, last)), strict=True))
    wanted = [(m, x, y) for m in range(3) for y in range(-2, 10) for x in range(10)]
    wanted = [(m, x, y) for m, x, y in wanted if first[m, 0] <= x <= last[m, 0] and first[m, 1] <= y <= last[m, 1]]
    assert pairs == wanted and len(pairs) == 6 + 0 + 1


def test_the_largest_weight_wins_in_any_order():
    cell, weight = torch.tensor([5, 5, 5, 0]), torch.tensor([0.2, 0.7, 0.1, 0.3])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        weights = largest_weights(cell[order], weight[order], 2, (2, 2))
        assert weights.tolist() == [[[torch.tensor(0.3).item(), 0], [0, 0]], [[0, torch.tensor(0.7).item()], [0, 0]]]
