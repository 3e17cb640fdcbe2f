"""The cells that a rotated box fills, and their weights, against plain loops and Ultralytics' own corners."""

from __future__ import annotations

import math

import pytest
import torch
from ultralytics.utils.ops import xywhr2xyxyxyxy

from fgd_yolo.methods.rotated_masks import rotated_foreground

GRID = (12, 20)  # not square: x and width are fractions of 20 cells, y and height of 12


def rotated_box(x, y, w, h, angle, grid=GRID):
    """A box given in cells, as the fractions of a batch."""
    return [x / grid[1], y / grid[0], w / grid[1], h / grid[0], angle]


def painted(boxes, grid=GRID, images=1, image_index=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 5)
    index = torch.zeros(len(boxes), dtype=torch.long) if image_index is None else torch.tensor(image_index)
    return rotated_foreground(boxes, index, images, grid)


def clipped_area(polygon, x, y):
    """Area that a convex polygon shares with the cell (x, y): its sides cut off one after the other."""
    for axis, limit, sign in ((0, x, 1), (0, x + 1, -1), (1, y, 1), (1, y + 1, -1)):
        kept = []
        for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            inside_start, inside_end = (sign * (point[axis] - limit) for point in (start, end))
            if inside_start >= 0:
                kept.append(start)
            if (inside_start > 0) != (inside_end > 0) and inside_start != inside_end:
                share = inside_start / (inside_start - inside_end)
                kept.append(tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)))
        polygon = kept
        if not polygon:
            return 0.0
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)) / 2


def plain_foreground(boxes, height, width):
    """Largest 1 / (cells filled) per cell, by loops over boxes and the cells of a region around the map."""
    weights = [[0.0] * width for _ in range(height)]
    for x, y, w, h, angle in boxes:
        x, w, y, h = x * width, w * width, y * height, h * height
        cos, sin = math.cos(angle), math.sin(angle)
        corners = [
            (x + sx * w / 2 * cos - sy * h / 2 * sin, y + sx * w / 2 * sin + sy * h / 2 * cos)
            for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        filled = [
            (column, row)
            for row in range(-height, 2 * height)
            for column in range(-width, 2 * width)
            if clipped_area(corners, column, row) > 0 or (column, row) == (math.floor(x), math.floor(y))
        ]
        for column, row in filled:
            if 0 <= column < width and 0 <= row < height:
                weights[row][column] = max(weights[row][column], 1 / len(filled))
    return weights


def test_random_boxes_equal_the_plain_loops():
    generator = torch.Generator().manual_seed(11)
    boxes = torch.rand(24, 5, generator=generator)
    boxes[:, 2:4] = boxes[:, 2:4] ** 3
    boxes[:, 4] = (boxes[:, 4] - 0.5) * 3 * math.pi
    image_index = torch.randint(0, 3, (24,), generator=generator)
    foreground = rotated_foreground(boxes, image_index, 3, GRID)
    expected = [plain_foreground(boxes[image_index == image].tolist(), *GRID) for image in range(3)]
    # A thousandth of a cell that the loops count and the function does not would be a difference in the cells.
    assert torch.allclose(foreground, torch.tensor(expected), rtol=1e-6)


def test_sides_become_pixels_before_the_box_is_rotated():
    """8 x 1 cells lying down become 1 x 8 standing up, also on an input that is not square."""
    lying, standing = (painted([rotated_box(10.5, 6.5, 8, 1, angle)])[0] for angle in (0, math.pi / 2))
    assert lying.nonzero().tolist() == [[6, column] for column in range(6, 15)]
    assert standing.nonzero().tolist() == [[row, 10] for row in range(2, 11)]
    assert torch.allclose(lying.sum(), torch.tensor(1.0)) and torch.allclose(standing.sum(), torch.tensor(1.0))


def test_a_positive_angle_turns_from_x_towards_y_as_in_ultralytics():
    weights = painted([rotated_box(10.5, 6.5, 9, 0.1, math.pi / 4)])[0]
    assert weights[8, 12] > 0 and weights[4, 8] > 0 and weights[4, 12] == 0 and weights[8, 8] == 0
    corners = xywhr2xyxyxyxy(torch.tensor([[10.5, 6.5, 9, 0.1, math.pi / 4]]))[0]
    for x, y in (0.99 * corners + 0.01 * torch.tensor([10.5, 6.5])).floor().long().tolist():
        assert weights[y, x] > 0, "the cell of each corner is filled"


def test_a_box_on_cell_borders_fills_the_cells_between_them_whatever_the_rounding():
    for turns in range(-4, 5):
        w, h = (4, 2) if turns % 2 == 0 else (2, 4)
        weights = painted([rotated_box(10, 6, w, h, turns * math.pi / 2)])[0]
        assert weights.nonzero().tolist() == [[row, column] for row in (5, 6) for column in (8, 9, 10, 11)]
        assert torch.allclose(weights[weights > 0], torch.tensor(1 / 8))


def test_a_corner_on_a_cell_border_does_not_fill_the_next_cell():
    weights = painted([rotated_box(10.5, 6.5, *[3 / math.sqrt(2)] * 2, math.pi / 4)])[0]  # corners at 9 and 12
    assert (weights > 0).nonzero().tolist() == [[row, column] for row in (5, 6, 7) for column in (9, 10, 11)]


@pytest.mark.parametrize("centre", [(3.0, 4.0), (3.5, 4.5), (3.99, 4.01)])
def test_an_object_smaller_than_a_cell_fills_at_least_one(centre):
    for size in (0.0, 1e-4, 0.2):
        weights = painted([rotated_box(*centre, size, size, 0.6)])[0]
        assert weights[int(centre[1]), int(centre[0])] > 0 and 1 <= (weights > 0).sum() <= 4
        assert torch.allclose(weights.sum(), torch.tensor(1.0))


def test_area_is_counted_before_the_box_is_clipped():
    weights = painted([rotated_box(0, 6.5, 6, 1, 0)])[0]
    assert (weights > 0).sum() == 3 and torch.allclose(weights[weights > 0], torch.tensor(1 / 6))


def test_smallest_of_overlapping_boxes_wins_in_any_order():
    large, small = rotated_box(10, 6, 14, 8, 0.4), rotated_box(10.5, 6.5, 0.5, 0.5, 1.0)
    for boxes in ([large, small], [small, large]):
        weights = painted(boxes)[0]
        assert weights[6, 10] == 1 and 0 < weights[6, 8] < 1 / 80


def test_boxes_are_assigned_to_their_own_image_and_those_outside_fill_nothing():
    boxes = [rotated_box(5, 5, 2, 2, 0.1)] * 2 + [rotated_box(40, 5, 2, 2, 0.1), rotated_box(5, -9, 2, 2, 0.1)]
    weights = painted(boxes, images=4, image_index=[3, 1, 0, 2])
    assert (weights > 0).any(dim=2).any(dim=1).tolist() == [False, True, False, True]


def test_no_boxes_paint_nothing():
    weights = painted([], images=2)
    assert weights.shape == (2, *GRID) and not weights.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boxes_of_lower_precision_are_painted_in_float32(dtype):
    boxes, index = torch.tensor([rotated_box(10.5, 6.5, 8, 2, 0.5)], dtype=dtype), torch.tensor([0.0])
    weights = rotated_foreground(boxes, index, 1, GRID)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, rotated_foreground(boxes.float(), index, 1, GRID))


@pytest.mark.parametrize(("boxes", "image_index"), [((3, 4), (3,)), ((5,), (5,)), ((3, 5), (2,)), ((3, 5), (3, 1))])
def test_wrong_shapes_are_refused(boxes, image_index):
    with pytest.raises(ValueError, match=r"rotated boxes must be \(M, 5\)"):
        rotated_foreground(torch.zeros(boxes), torch.zeros(image_index, dtype=torch.long), 1, (4, 4))
