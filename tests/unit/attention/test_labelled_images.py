"""Finding images, reading their boxes, and letterboxing both."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fgd_yolo.attention.labelled_images import (
    LABELS,
    detected_boxes,
    find_images,
    labelled_boxes,
    load_letterboxed,
)
from fgd_yolo.errors import FGDError, UsageError


@pytest.fixture
def image_file(tmp_path):
    """A wide black image with a white block and its label file, in Ultralytics' folder layout."""
    image = np.zeros((60, 120, 3), np.uint8)
    image[20:40, 30:90] = 255
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), image)
    (tmp_path / "labels/a.txt").write_text("2 0.5 0.5 0.5 0.333333\n\n")
    return tmp_path / "images/a.png"


def test_letterboxing_keeps_a_box_on_its_object(image_file):
    labelled = load_letterboxed(image_file, labelled_boxes(image_file), LABELS, 240)
    assert labelled.canvas.shape == (240, 240, 3)
    rows, columns = np.nonzero(labelled.canvas[..., 0] > 200)
    x, y, width, height = (labelled.boxes[0] * 240).tolist()
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert corners == pytest.approx([x - width / 2, y - height / 2, x + width / 2, y + height / 2], abs=1)


def test_the_tensor_is_the_canvas_as_rgb_planes_in_0_to_1(image_file):
    labelled = load_letterboxed(image_file, torch.zeros(0, 4), LABELS, 64)
    expected = torch.from_numpy(labelled.canvas[..., ::-1].transpose(2, 0, 1).copy()).float() / 255
    assert torch.equal(labelled.tensor, expected[None])


def test_a_polygon_becomes_its_bounding_box(image_file):
    (image_file.parents[1] / "labels/a.txt").write_text("0 0.2 0.3 0.6 0.1 0.4 0.7\n")
    assert labelled_boxes(image_file)[0].tolist() == pytest.approx([0.4, 0.4, 0.4, 0.6])


def test_a_missing_label_file_is_distinguished_from_an_empty_one(image_file):
    label = image_file.parents[1] / "labels/a.txt"
    label.write_text("")
    assert labelled_boxes(image_file).shape == (0, 4)
    label.unlink()
    assert labelled_boxes(image_file) is None


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.5", "0 a b c d", "0 1 2 3 4 5"])
def test_an_invalid_label_line_is_named(image_file, line):
    (image_file.parents[1] / "labels/a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(FGDError, match=r"a\.txt, line 2 is not a valid label"):
        labelled_boxes(image_file)


def test_a_file_that_is_not_an_image_is_named(image_file):
    image_file.write_bytes(b"not an image")
    with pytest.raises(FGDError, match=r"a\.png cannot be read"):
        load_letterboxed(image_file, torch.zeros(0, 4), LABELS, 64)


def test_detections_are_filtered_by_confidence_and_overlap():
    """Boxes 0 and 1 are one object, box 2 has too low a confidence; outputs are (1, 4 + classes, boxes) in pixels."""
    outputs = torch.tensor([[[32.0, 33, 10], [16, 16, 10], [20, 20, 4], [8, 8, 4], [0.9, 0.8, 0.1], [0, 0, 0]]])
    assert detected_boxes(outputs, 64)[0].tolist() == pytest.approx([0.5, 0.25, 0.3125, 0.125])
    assert len(detected_boxes(outputs, 64)) == 1


def test_a_dataset_yields_its_val_images_and_other_sources_all_of_theirs(tiny_data):
    val = sorted((tiny_data.parent / "images/val").iterdir())
    assert find_images([str(tiny_data)]) == val
    assert find_images([str(val[1]), str(tiny_data.parent / "images/val")]) == [val[1], val[0], *val[2:]]


def test_a_dataset_together_with_other_sources_is_refused(tiny_data):
    with pytest.raises(UsageError, match="give it alone"):
        find_images([str(tiny_data), "images"])
