"""The cells that instance masks fill, and their weights, against plain loops and Ultralytics' own masks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ultralytics.data.augment import Format
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.instance import Instances

from fgd_yolo.methods.segment_masks import mask_foreground

MASKS = [(8, 12), (9, 13), (24, 16), (5, 7), (3, 2)]
GRID = (4, 6)


def plain_foreground(masks, height, width):
    """Largest 1 / (cells filled) per cell of one image's objects, by loops over objects, cells and pixels."""
    weights = [[0.0] * width for _ in range(height)]
    for mask in masks:
        rows, columns = len(mask), len(mask[0])
        # Masks coarser than the grid: every pixel becomes several.
        down, right = max(1, -(-height // rows)), max(1, -(-width // columns))
        filled = set()
        for row in range(rows * down):
            for column in range(columns * right):
                if mask[row // down][column // right]:
                    y, x = (row + 0.5) / (rows * down) * height, (column + 0.5) / (columns * right) * width
                    filled.add((int(y + 1e-9), int(x + 1e-9)))
        for y, x in filled:
            weights[y][x] = max(weights[y][x], 1 / len(filled))
    return weights


def stacked(shape, objects=7, seed=3):
    """One mask per object, of every size, and the image of each; the third of four images has no object."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(objects, 1, 1, generator=generator) ** 3
    masks = (torch.rand(objects, *shape, generator=generator) < share).to(torch.uint8)
    return masks, torch.tensor([0, 3, 0, 1, 0, 1, 0][:objects])


def as_index_maps(masks, image_index, images=4):
    """The same objects as Ultralytics' overlapping masks: later objects of an image cover earlier ones."""
    maps = torch.zeros(images, *masks.shape[1:], dtype=torch.uint8)
    for image in range(images):
        for number, mask in enumerate(masks[image_index == image]):
            maps[image][mask.bool()] = number + 1
    return maps


@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_one_mask_per_object_equals_the_plain_loops(shape):
    masks, image_index = stacked(shape)
    foreground = mask_foreground(masks, image_index, 4, GRID, indexed=False)
    expected = [plain_foreground(masks[image_index == image].tolist(), *GRID) for image in range(4)]
    assert torch.allclose(foreground, torch.tensor(expected), rtol=1e-6) and foreground.any()


@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_one_mask_per_image_equals_the_plain_loops(shape):
    maps = as_index_maps(*stacked(shape))
    foreground = mask_foreground(maps, torch.empty(0), 4, GRID, indexed=True)
    expected = [plain_foreground([(own == i).tolist() for i in range(1, 8)], *GRID) for own in maps]
    assert torch.allclose(foreground, torch.tensor(expected), rtol=1e-6) and foreground.any()


def test_a_single_pixel_and_a_thin_line_keep_a_cell_on_a_coarse_level():
    masks = torch.zeros(2, 32, 48)
    masks[0, 17, 30] = masks[1, :, 5] = 1
    foreground = mask_foreground(masks, torch.zeros(2), 1, (2, 3), indexed=False)[0]
    assert foreground.tolist() == [[0.5, 0, 0], [0.5, 1, 0]]


def test_every_cell_of_a_full_mask_is_filled_whatever_the_resolutions():
    for pixels in (1, 2, 3, 5, 7, 8, 19, 20, 21, 40, 64):
        foreground = mask_foreground(torch.ones(1, pixels, 2 * pixels), torch.zeros(1), 1, (7, 20), indexed=True)
        assert torch.allclose(foreground, torch.full((1, 7, 20), 1 / 140))


def test_the_smallest_of_objects_in_a_cell_wins():
    masks = torch.zeros(2, 8, 8)
    masks[0] = masks[1, 0, 0] = 1
    for order in ([0, 1], [1, 0]):
        foreground = mask_foreground(masks[order], torch.zeros(2), 1, (4, 4), indexed=False)[0]
        assert foreground[0, 0] == 1 and foreground[3, 3] == 1 / 16


def test_an_object_that_is_covered_fills_nothing_and_the_next_keeps_its_own_weight():
    maps = torch.zeros(1, 4, 4, dtype=torch.int32)
    maps[0, 0, :2], maps[0, 2:] = 1, 300
    foreground = mask_foreground(maps, torch.empty(0), 1, (4, 4), indexed=True)[0]
    assert foreground[0].tolist() == [0.5, 0.5, 0, 0] and (foreground[2:] == 1 / 8).all() and not foreground[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int32, torch.bool])
def test_masks_of_any_type_are_painted_in_float32(dtype):
    masks, image_index = stacked((8, 12))
    foreground = mask_foreground(masks.to(dtype), image_index.float(), 4, GRID, indexed=False)
    assert foreground.dtype == torch.float32
    assert torch.equal(foreground, mask_foreground(masks, image_index, 4, GRID, indexed=False))


@pytest.mark.parametrize("indexed", [True, False])
def test_no_objects_paint_nothing(indexed):
    masks = torch.zeros(3 if indexed else 0, 8, 8)
    foreground = mask_foreground(masks, torch.empty(0), 3, GRID, indexed=indexed)
    assert foreground.shape == (3, *GRID) and not foreground.any()


def test_a_wrong_number_of_masks_is_refused():
    with pytest.raises(ValueError, match=r"\(2, h, w\), one per image, got \(3, 4, 4\)"):
        mask_foreground(torch.zeros(3, 4, 4), torch.zeros(3), 2, GRID, indexed=True)
    with pytest.raises(ValueError, match=r"\(2, h, w\), one per object, got \(3, 4, 4\)"):
        mask_foreground(torch.zeros(3, 4, 4), torch.zeros(2), 2, GRID, indexed=False)
    with pytest.raises(ValueError, match=r"got \(2, 1, 4, 4\)"):
        mask_foreground(torch.zeros(2, 1, 4, 4), torch.zeros(2), 2, GRID, indexed=True)


@pytest.mark.parametrize("overlap", [True, False])
def test_masks_of_ultralytics_batches_are_read_as_they_are_written(overlap):
    """Two images: a small square on a large one, and none."""
    squares = [[(16, 16, 32, 32), (0, 0, 64, 64)], []]
    samples = []
    for own in squares:
        corners = np.float32([[[x1, y1], [x2, y1], [x2, y2], [x1, y2]] for x1, y1, x2, y2 in own]).reshape(-1, 4, 2)
        boxes = np.float32(own).reshape(-1, 4)
        labels = {
            "img": np.zeros((64, 128, 3), np.uint8),
            "cls": np.zeros((len(own), 1), np.float32),
            "instances": Instances(boxes, corners, bbox_format="xyxy", normalized=False),
        }
        samples.append(Format(return_mask=True, mask_overlap=overlap)(labels))
    batch = SimpleNamespace(**YOLODataset.collate_fn(samples))
    foreground = mask_foreground(batch.masks, batch.batch_idx, 2, (4, 8), indexed=overlap)
    assert not foreground[1].any() and not foreground[0, :, 5:].any()
    assert foreground[0, 1, 1] > foreground[0, 0, 0] > 0
