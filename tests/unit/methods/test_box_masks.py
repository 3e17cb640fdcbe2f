"""The cells that a box fills, and their weights."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods.box_masks import background_weights, foreground_weights
from unit.methods.cases import BOXES, GRID, make_boxes
from unit.methods.reference import paint, share_out


def painted(boxes, grid, images=1, image_index=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    index = torch.zeros(len(boxes), dtype=torch.long) if image_index is None else torch.tensor(image_index)
    return foreground_weights(boxes, index, images, grid)


def test_last_cell_is_included():
    weights = painted([[0.5, 0.5, 0.5, 0.25]], (8, 8))[0]
    assert weights.nonzero().tolist() == [[row, column] for row in (3, 4, 5) for column in (2, 3, 4, 5, 6)]
    assert torch.allclose(weights[weights > 0], torch.tensor(1 / 15))


def test_column_outside_the_map_is_counted_in_the_area():
    weights = painted([[0.75, 0.5, 0.5, 0.25]], (8, 8))[0]
    assert (weights > 0).sum() == 3 * 4
    assert torch.allclose(weights[weights > 0], torch.tensor(1 / 15)), "columns 4 to 8, of which 8 is outside"


def test_edges_beyond_the_image_are_clipped_after_the_area_is_counted():
    weights = painted([[0.0, 1.0, 0.5, 0.5]], (8, 8))[0]
    assert (weights[6:, :3] > 0).all() and (weights > 0).sum() == 6
    assert torch.allclose(weights[weights > 0], torch.tensor(1 / 25))


def test_object_smaller_than_a_cell_fills_two_by_two():
    assert (painted([[0.3125, 0.3125, 0.01, 0.01]], (8, 8)) > 0).sum() == 4


def test_smallest_of_overlapping_boxes_wins_in_any_order():
    large, small = [0.5, 0.5, 0.9, 0.9], [0.4375, 0.4375, 0.05, 0.05]
    for boxes in ([large, small], [small, large]):
        weights = painted(boxes, (8, 8))[0]
        assert torch.allclose(weights[3:5, 3:5], torch.tensor(1 / 4))
        assert torch.allclose(weights[0, 0], torch.tensor(1 / 81))


def test_a_box_completely_outside_fills_no_cell_and_others_still_do():
    weights = painted([[1.9, 0.5, 0.2, 0.2], [0.5, -0.9, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]], (8, 8))
    assert torch.equal(weights, painted([[0.5, 0.5, 0.2, 0.2]], (8, 8)))


def test_boxes_are_assigned_to_their_own_image():
    weights = painted([[0.5, 0.5, 0.2, 0.2]] * 2, (4, 4), images=4, image_index=[3, 1])
    assert (weights > 0).any(dim=2).any(dim=1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("kind", BOXES)
def test_masks_equal_the_plain_loops(kind):
    boxes, image_index = make_boxes(kind)
    foreground = foreground_weights(boxes, image_index, 2, GRID)
    for image in range(2):
        expected = paint(boxes[image_index == image].tolist(), *GRID)
        assert torch.allclose(foreground[image], torch.tensor(expected), rtol=1e-6)
        assert torch.allclose(background_weights(foreground)[image], torch.tensor(share_out(expected)), rtol=1e-6)


def test_hundreds_of_random_boxes_equal_the_plain_loops():
    generator = torch.Generator().manual_seed(7)
    extent = torch.rand(300, 2, generator=generator) ** 3
    boxes = torch.cat([extent / 2 + torch.rand(300, 2, generator=generator) * (1 - extent), extent], dim=1)
    image_index = torch.randint(0, 5, (300,), generator=generator)
    foreground = foreground_weights(boxes, image_index, 5, (20, 28))
    expected = [paint(boxes[image_index == image].tolist(), 20, 28) for image in range(5)]
    assert torch.allclose(foreground, torch.tensor(expected), rtol=1e-6)


def test_background_of_an_image_sums_to_one():
    background = background_weights(painted([[0.3, 0.3, 0.2, 0.2]], (6, 6), images=2, image_index=[1]))
    assert torch.allclose(background.sum(dim=(1, 2)), torch.ones(2))
    assert torch.allclose(background[0], torch.tensor(1 / 36)), "an image without boxes"


def test_an_image_completely_covered_has_no_background():
    assert background_weights(painted([[0.5, 0.5, 1.0, 1.0]], (6, 6))).abs().max() == 0


@pytest.mark.parametrize(("boxes", "image_index"), [((3, 5), (3,)), ((4,), (4,)), ((3, 4), (2,)), ((3, 4), (3, 1))])
def test_wrong_shapes_are_refused(boxes, image_index):
    with pytest.raises(ValueError, match="boxes must be"):
        foreground_weights(torch.zeros(boxes), torch.zeros(image_index, dtype=torch.long), 1, (4, 4))
