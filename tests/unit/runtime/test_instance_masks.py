import numpy as np
import pytest
import torch
from ultralytics.utils import ops

from fgd_yolo.preprocessing import place
from fgd_yolo.runtime.instance_masks import instance_masks

SHAPES = [(480, 640), (333, 777), (97, 101), (640, 480), (200, 199), (40, 300), (1, 1), (2000, 1500), (161, 320)]


def scene(shape, canvas, count=4, channels=8):
    """Return smooth prototypes, coefficients, and boxes in image pixels, some of them clipped at the border."""
    random = np.random.default_rng(sum(shape))
    height, width = canvas[0] // 4, canvas[1] // 4
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = random.uniform(0.05, 0.4, (channels, 3)).astype(np.float32)
    prototypes = np.stack([np.sin(a * x + b * y + 20 * c) for a, b, c in waves])
    coefficients = random.normal(size=(count, channels)).astype(np.float32)
    corners = random.uniform(-0.1, 1.1, (count, 2, 2)) * shape[::-1]
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    boxes = boxes.clip(0, [*shape[::-1], *shape[::-1]]).astype(np.float32)
    return prototypes, coefficients, boxes


@pytest.mark.parametrize("auto", [None, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_the_native_ones_of_ultralytics(shape, auto):
    placement = place(shape, (320, 320), auto)
    prototypes, coefficients, boxes = scene(shape, placement.canvas)
    masks = instance_masks(prototypes, coefficients, boxes, placement)
    tensors = [torch.from_numpy(array) for array in (prototypes, coefficients, boxes)]
    expected = ops.process_mask_native(*tensors, shape).numpy().astype(bool)
    assert masks.shape == (4, *shape) and masks.dtype == bool
    # A pixel whose value is 0 up to rounding may be inside or outside.
    assert (masks != expected).sum() <= 2e-5 * masks.size


def test_every_possible_padding_is_cropped_at_the_right_pixel():
    for height in range(40, 321, 7):
        placement = place((height * 3, 960), (320, 320))
        prototypes, coefficients, boxes = scene((height * 3, 960), placement.canvas, count=1)
        masks = instance_masks(prototypes, coefficients, boxes, placement)
        tensors = [torch.from_numpy(array) for array in (prototypes, coefficients, boxes)]
        expected = ops.process_mask_native(*tensors, placement.image).numpy().astype(bool)
        assert (masks != expected).sum() <= 2e-5 * masks.size, height


def test_a_mask_ends_at_its_box():
    placement = place((100, 200), (96, 96))
    masks = instance_masks(
        np.ones((1, 24, 24), np.float32), np.ones((1, 1), np.float32), np.float32([[10.2, 20, 50, 60.5]]), placement
    )
    rows, columns = np.nonzero(masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 60, 11, 49)


def test_no_objects_give_an_empty_array_of_the_size_of_the_image():
    placement = place((30, 40), (96, 96))
    masks = instance_masks(
        np.ones((2, 24, 24), np.float32), np.empty((0, 2), np.float32), np.empty((0, 4), np.float32), placement
    )
    assert masks.shape == (0, 30, 40) and masks.dtype == bool
