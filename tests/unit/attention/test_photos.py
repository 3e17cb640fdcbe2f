"""Which images are looked at, where their boxes come from, and where those lie on the network's canvas."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fgd_yolo.attention.photos import LABELS, detected_boxes, find_images, labelled_boxes, letterboxed
from fgd_yolo.errors import FGDError, UsageError


@pytest.fixture
def photo(tmp_path):
    """A wide black photo with a white block, beside its label file as the host lays them out."""
    image = np.zeros((60, 120, 3), np.uint8)
    image[20:40, 30:90] = 255
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), image)
    (tmp_path / "labels/a.txt").write_text("2 0.5 0.5 0.5 0.333333\n\n")
    return tmp_path / "images/a.png"


def test_a_box_stays_on_its_object_when_the_photo_is_letterboxed(photo):
    seen = letterboxed(photo, labelled_boxes(photo), LABELS, 240)
    assert seen.canvas.shape == (240, 240, 3)
    rows, columns = np.nonzero(seen.canvas[..., 0] > 200)
    x, y, width, height = (seen.boxes[0] * 240).tolist()
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found == pytest.approx([x - width / 2, y - height / 2, x + width / 2, y + height / 2], abs=1)


def test_the_tensor_is_the_canvas_as_the_network_reads_it(photo):
    seen = letterboxed(photo, torch.zeros(0, 4), LABELS, 64)
    expected = torch.from_numpy(seen.canvas[..., ::-1].transpose(2, 0, 1).copy()).float() / 255
    assert torch.equal(seen.tensor, expected[None])


def test_a_polygon_gives_the_box_around_it(photo):
    (photo.parents[1] / "labels/a.txt").write_text("0 0.2 0.3 0.6 0.1 0.4 0.7\n")
    assert labelled_boxes(photo)[0].tolist() == pytest.approx([0.4, 0.4, 0.4, 0.6])


def test_no_label_file_is_not_the_same_as_an_empty_one(photo):
    label = photo.parents[1] / "labels/a.txt"
    label.write_text("")
    assert labelled_boxes(photo).shape == (0, 4)
    label.unlink()
    assert labelled_boxes(photo) is None


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.5", "0 a b c d", "0 1 2 3 4 5"])
def test_a_line_that_is_no_label_is_named(photo, line):
    (photo.parents[1] / "labels/a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(FGDError, match=r"a\.txt, line 2 is no label"):
        labelled_boxes(photo)


def test_a_file_that_is_no_picture_is_named(photo):
    photo.write_bytes(b"no picture")
    with pytest.raises(FGDError, match=r"a\.png cannot be read"):
        letterboxed(photo, torch.zeros(0, 4), LABELS, 64)


def test_detections_are_boxes_above_the_least_score_without_doubles():
    """Boxes 0 and 1 are one object, box 2 scores too little; outputs are (1, 4 + classes, boxes) in pixels."""
    outputs = torch.tensor([[[32.0, 33, 10], [16, 16, 10], [20, 20, 4], [8, 8, 4], [0.9, 0.8, 0.1], [0, 0, 0]]])
    assert detected_boxes(outputs, 64)[0].tolist() == pytest.approx([0.5, 0.25, 0.3125, 0.125])
    assert len(detected_boxes(outputs, 64)) == 1


def test_a_dataset_gives_its_val_images_and_other_sources_theirs(tiny_data):
    val = sorted((tiny_data.parent / "images/val").iterdir())
    assert find_images([str(tiny_data)]) == val
    assert find_images([str(val[1]), str(tiny_data.parent / "images/val")]) == [val[1], val[0], *val[2:]]


def test_a_dataset_beside_other_sources_is_refused(tiny_data):
    with pytest.raises(UsageError, match="give it alone"):
        find_images([str(tiny_data), "photos"])
