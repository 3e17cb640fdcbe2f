"""The objects of an image are those of its labels or of a model's outputs, and are painted as in training."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch

from fgd_yolo.attention.image_objects import ImageObjects, detected_objects, read_labels
from fgd_yolo.errors import FGDError
from fgd_yolo.methods.rotated_masks import rotated_foreground
from fgd_yolo.task_table import TASKS

DETECT = TASKS["detect"]
DIAMOND = torch.tensor([[0.5, 0.2], [0.9, 0.5], [0.5, 0.8], [0.1, 0.5]])


def test_a_polygon_becomes_its_bounding_box(image_file):
    (image_file.parents[1] / "labels/a.txt").write_text("0 0.2 0.3 0.6 0.1 0.4 0.7\n")
    assert read_labels(image_file, DETECT).boxes[0].tolist() == pytest.approx([0.4, 0.4, 0.4, 0.6])


def test_a_missing_label_file_is_distinguished_from_an_empty_one(image_file):
    label = image_file.parents[1] / "labels/a.txt"
    label.write_text("")
    assert read_labels(image_file, DETECT).boxes.shape == (0, 4)
    label.unlink()
    assert read_labels(image_file, DETECT) is None


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.5", "0 a b c d", "0 1 2 3 4 5"])
def test_an_invalid_label_line_is_named(image_file, line):
    (image_file.parents[1] / "labels/a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(FGDError, match=r"a\.txt, line 2 is not a valid label"):
        read_labels(image_file, DETECT)


def test_detections_are_filtered_by_confidence_and_overlap():
    """Boxes 0 and 1 are one object, box 2 has too low a confidence; outputs are (1, 4 + classes, boxes) in pixels."""
    outputs = torch.tensor([[[32.0, 33, 10], [16, 16, 10], [20, 20, 4], [8, 8, 4], [0.9, 0.8, 0.1], [0, 0, 0]]])
    assert detected_objects(outputs, DETECT, 2, 64).boxes[0].tolist() == pytest.approx([0.5, 0.25, 0.3125, 0.125])
    assert len(detected_objects(outputs, DETECT, 2, 64).boxes) == 1


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_a_task_with_a_foreground_of_its_own_keeps_the_corners_of_its_labels(image_file, task):
    (image_file.parents[1] / "labels/a.txt").write_text("0 0.2 0.3 0.6 0.1 0.4 0.7\n1 0.5 0.5 0.2 0.4\n")
    triangle, box = read_labels(image_file, TASKS[task]).outlines
    assert triangle.tolist() == pytest.approx(np.array([[0.2, 0.3], [0.6, 0.1], [0.4, 0.7]]))
    assert box.tolist() == pytest.approx(np.array([[0.4, 0.3], [0.6, 0.3], [0.6, 0.7], [0.4, 0.7]]))


def test_the_keypoints_of_a_pose_label_do_not_count(image_file):
    (image_file.parents[1] / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 1 0.3 0.3 0\n")
    objects = read_labels(image_file, TASKS["pose"])
    assert objects.boxes.tolist() == pytest.approx(np.array([[0.5, 0.5, 0.2, 0.4]])) and objects.outlines is None


def test_objects_move_with_their_image_onto_the_canvas():
    """The image is 120 x 60 on a canvas of 240, from row 60 on."""
    objects = ImageObjects.of_outlines([DIAMOND]).placed(torch.tensor([240, 120]), torch.tensor([0, 60]), 240)
    assert objects.boxes.tolist() == pytest.approx(np.array([[0.5, 0.5, 0.8, 0.3]]))
    assert objects.outlines[0][0].tolist() == pytest.approx([0.5, 0.35])


def test_masks_are_painted_as_cells_that_hold_a_pixel_of_them():
    """A triangle over the upper left half of 64 pixels holds pixels of the cells on and above the diagonal."""
    triangle = ImageObjects.of_outlines([torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])])
    weights = triangle.foreground(TASKS["segment"], (4, 4), (64, 64))[0]
    cells = [(row, column) for row in range(4) for column in range(4) if row + column <= 3]
    expected = np.zeros((4, 4), bool)
    expected[tuple(zip(*cells, strict=True))] = True
    np.testing.assert_array_equal(weights > 0, expected)
    assert weights.max() == pytest.approx(1 / len(cells))


def test_rotated_boxes_are_painted_as_those_of_a_batch():
    """A box of 40 x 20 pixels, turned by 30 degrees around the centre of a canvas of 64 x 128."""
    angle, size = pi / 6, torch.tensor([128.0, 64.0])
    axes = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=torch.float32)
    corners = torch.tensor([[-20.0, -10], [20, -10], [20, 10], [-20, 10]]) @ axes + size / 2
    drawn = ImageObjects.of_outlines([corners / size]).foreground(TASKS["obb"], (8, 16), (64, 128))
    box = torch.tensor([[0.5, 0.5, 40 / 128, 20 / 64, angle]])
    assert torch.equal(drawn > 0, rotated_foreground(box, torch.zeros(1, dtype=torch.long), 1, (8, 16)) > 0)


@pytest.mark.parametrize("task", TASKS)
def test_an_image_without_objects_has_no_foreground(task):
    objects = ImageObjects.of_outlines([]) if TASKS[task].foreground else ImageObjects(torch.zeros(0, 4))
    assert not objects.foreground(TASKS[task], (4, 4), (64, 64)).any() and objects.boxes.shape == (0, 4)


def test_a_detected_rotated_box_has_its_corners():
    """One anchor of one class: centre 32, 32, size 32 x 16, turned by a right angle."""
    outputs = torch.tensor([32, 32, 32, 16, 0.9, pi / 2])[None, :, None]
    (corners,) = detected_objects((outputs, {}), TASKS["obb"], 1, 64).outlines
    assert corners.min(dim=0).values.tolist() == pytest.approx([24 / 64, 16 / 64], abs=1e-4)
    assert corners.max(dim=0).values.tolist() == pytest.approx([40 / 64, 48 / 64], abs=1e-4)


def test_a_detected_mask_has_its_outline_inside_its_box():
    """The only prototype is positive on the left half of the canvas, the box covers its centre."""
    prototype = torch.full((1, 1, 16, 16), -1.0)
    prototype[..., :8] = 1
    outputs = torch.tensor([32.0, 32, 32, 32, 0.9, 1])[None, :, None]
    objects = detected_objects(((outputs, prototype), {}), TASKS["segment"], 1, 64)
    assert objects.boxes[0].tolist() == pytest.approx([24 / 64, 0.5, 16 / 64, 0.5], abs=2 / 64)


def test_the_rows_of_a_head_without_nms_are_read_as_they_are():
    """Two rows (corner box, score, class, 32 coefficients), of which the second has too low a score."""
    rows = torch.zeros(1, 2, 38)
    rows[0, :, :6] = torch.tensor([[16.0, 16, 48, 48, 0.9, 2], [0, 0, 8, 8, 0.1, 0]])
    prototypes = torch.ones(1, 32, 16, 16)
    rows[..., 6] = 1
    objects = detected_objects(((rows, prototypes), {}), TASKS["segment"], 3, 64, end2end=True)
    assert objects.boxes.tolist() == pytest.approx(np.array([[0.5, 0.5, 0.5, 0.5]]), abs=2 / 64)
