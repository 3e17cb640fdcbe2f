"""Cross-head imitation with a small head of plain torch, against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fgd_yolo.methods import Predictions
from fgd_yolo.methods.crosshead import CrossHeadLevel, crossed_maps
from unit.methods.heads import compared

GRIDS = [(4, 2), (2, 1), (1, 1)]
CLASSES, BINS = 2, 3


class SmallHead(nn.Module):
    """A frozen head: one 1x1 convolution per level, for scores and edges together."""

    def __init__(self, channels: list[int]):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(width, CLASSES + 4 * BINS, 1) for width in channels).double()
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> Predictions:
        outputs = torch.cat([level(own).flatten(2) for level, own in zip(self.levels, maps, strict=True)], dim=2)
        return Predictions(outputs[:, CLASSES:], outputs[:, :CLASSES])


def random_maps(seed: int, channels: list[int], grids=GRIDS, gradient: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, width, *grid, generator=generator) for width, grid in zip(channels, grids, strict=True)]
    return [own.double().requires_grad_(gradient) for own in maps]


def plain_outputs(head: SmallHead, maps: list[Tensor], image: int, level: int, row: int, column: int) -> list[Tensor]:
    """The outputs of a cell by loops over outputs and channels."""
    conv = head.levels[level]
    cell = maps[level][image, :, row, column]
    return [
        sum(conv.weight[number, c, 0, 0] * cell[c] for c in range(len(cell))) + conv.bias[number]
        for number in range(CLASSES + 4 * BINS)
    ]


def plain_term(head: SmallHead, own: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Class and box term between two lists of maps by loops over images, levels, cells, classes, edges and bins."""
    cls_cost, box_cost, confidence = 0.0, 0.0, 0.0
    for image in range(2):
        for level, (rows, columns) in enumerate(GRIDS):
            for row in range(rows):
                for column in range(columns):
                    crossed, wanted = (plain_outputs(head, maps, image, level, row, column) for maps in (own, teacher))
                    best = 0.0
                    for c in range(CLASSES):
                        p, q = crossed[c].sigmoid(), wanted[c].sigmoid()
                        excess = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
                        cls_cost = cls_cost + abs(p - q).item() * excess
                        best = max(best, q.item())
                    confidence += best
                    for side in range(4):
                        start = CLASSES + side * BINS
                        p, q = (
                            torch.stack(values[start : start + BINS]).div(10).softmax(0) for values in (crossed, wanted)
                        )
                        for number in range(BINS):
                            gap = q[number] * (q[number] / p[number]).log()
                            box_cost = box_cost + best * 100 * gap / 4
    return (cls_cost + box_cost) / max(confidence, 1)


def plain_aligned(student_map: Tensor, level: CrossHeadLevel) -> Tensor:
    """The student's map in the teacher's width by loops over channels."""
    if level.align is None:
        return student_map
    weight, bias = level.align.weight, level.align.bias
    rows = [
        sum(weight[out, c, 0, 0] * student_map[:, c] for c in range(student_map.shape[1])) + bias[out]
        for out in range(len(bias))
    ]
    return torch.stack(rows, dim=1)


def test_the_term_and_its_gradients_equal_the_plain_loops():
    """One level is wider, one as wide, and the student lacks the third, which is the teacher's own."""
    torch.manual_seed(0)
    head = SmallHead([5, 3, 4])
    student_maps, teacher_maps = random_maps(1, [2, 3], GRIDS[:2], gradient=True), random_maps(2, [5, 3, 4])
    levels = [CrossHeadLevel(2, 5).double(), CrossHeadLevel(3, 3).double()]
    crossed = crossed_maps(student_maps, teacher_maps, [(0, 0), (1, 1)], levels)
    assert torch.equal(crossed[2], teacher_maps[2])
    term = compared(head(crossed), head(teacher_maps), crosshead=1.0)["crosshead"]
    aligned = [*(plain_aligned(own, level) for own, level in zip(student_maps, levels, strict=True)), teacher_maps[2]]
    plain = plain_term(head, aligned, teacher_maps)
    assert term.item() == pytest.approx(plain.item(), rel=1e-5) and term > 0
    trained = [*student_maps, levels[0].align.weight, levels[0].align.bias]
    pairs = zip(*(torch.autograd.grad(value, trained, retain_graph=True) for value in (term, plain)), strict=True)
    for actual, wanted in pairs:
        assert wanted.any()
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-9)
    assert all(parameter.grad is None for parameter in head.parameters())


def test_maps_that_agree_have_no_loss():
    head, maps = SmallHead([3, 3, 3]), random_maps(1, [3, 3, 3])
    crossed = crossed_maps(maps, maps, [(0, 0), (1, 1), (2, 2)], [CrossHeadLevel(3, 3) for _ in range(3)])
    assert compared(head(crossed), head(maps), crosshead=1.0)["crosshead"].item() == pytest.approx(0, abs=1e-9)


def test_a_level_names_its_alignment_as_trained_by_its_own_item_alone():
    level = CrossHeadLevel(2, 5)
    assert level.trained_weights("head_crosshead") == {"alignment": level.align.weight}
    assert level.trained_weights("head_cls") == {} and CrossHeadLevel(3, 3).trained_weights("head_crosshead") == {}


def test_maps_of_another_grid_are_refused_naming_both():
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).*\(2, 3, 4, 2\)"):
        own = random_maps(1, [3], [(4, 4)])
        crossed_maps(own, random_maps(2, [3], [(4, 2)]), [(0, 0)], [CrossHeadLevel(3, 3)])
