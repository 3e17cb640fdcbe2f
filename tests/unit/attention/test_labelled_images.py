"""Finding images, reading their boxes, and letterboxing both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fgd_yolo.attention.image_objects import ImageObjects, read_labels
from fgd_yolo.attention.labelled_images import (
    LABELS,
    find_images,
    load_letterboxed,
)
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.task_table import TASKS
from fixtures import of_channels, save_channels

DETECT = TASKS["detect"]


def test_letterboxing_keeps_a_box_on_its_object(image_file):
    labelled = load_letterboxed(image_file, read_labels(image_file, DETECT), LABELS, 240)
    assert labelled.canvas.shape == (240, 240, 3)
    rows, columns = np.nonzero(labelled.canvas[..., 0] > 200)
    x, y, width, height = (labelled.objects.boxes[0] * 240).tolist()
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert corners == pytest.approx([x - width / 2, y - height / 2, x + width / 2, y + height / 2], abs=1)


def test_the_tensor_is_the_canvas_as_rgb_planes_in_0_to_1(image_file):
    labelled = load_letterboxed(image_file, ImageObjects(torch.zeros(0, 4)), LABELS, 64)
    expected = torch.from_numpy(labelled.canvas[..., ::-1].transpose(2, 0, 1).copy()).float() / 255
    assert torch.equal(labelled.tensor, expected[None])


@pytest.mark.parametrize("channels", [1, 4])
def test_the_tensor_of_other_channels_keeps_their_order(channels, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save_channels(tmp_path / "a.png", image, channels)
    labelled = load_letterboxed(path, ImageObjects(torch.zeros(0, 4)), LABELS, 64, channels)
    assert np.array_equal(labelled.canvas, of_channels(image, channels))
    expected = torch.from_numpy(of_channels(image, channels).transpose(2, 0, 1).copy()).float() / 255
    assert torch.equal(labelled.tensor, expected[None])
    with pytest.raises(FGDError, match=rf"{path.name} cannot be read as an image: it has {channels} .* takes 5"):
        load_letterboxed(path, ImageObjects(torch.zeros(0, 4)), LABELS, 64, 5)


def test_a_file_that_is_not_an_image_is_named(image_file):
    image_file.write_bytes(b"not an image")
    with pytest.raises(FGDError, match=r"a\.png cannot be read"):
        load_letterboxed(image_file, ImageObjects(torch.zeros(0, 4)), LABELS, 64)


def test_a_dataset_yields_its_val_images_and_other_sources_all_of_theirs(tiny_data):
    val = sorted((tiny_data.parent / "images/val").iterdir())
    assert find_images([str(tiny_data)]) == val
    assert find_images([str(val[1]), str(tiny_data.parent / "images/val")]) == [val[1], val[0], *val[2:]]


def test_a_dataset_together_with_other_sources_is_refused(tiny_data):
    with pytest.raises(UsageError, match="give it alone"):
        find_images([str(tiny_data), "images"])
