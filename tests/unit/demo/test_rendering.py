"""The box of a painted object must be the extent of the pixels that it changed."""

from __future__ import annotations

import numpy as np
import pytest

from fgd_yolo.demo.rendering import MIN_VISIBLE, Canvas, Pose
from fgd_yolo.demo.signs import NAMES, SIGNS

GREEN, RED = np.array([0, 255, 0], dtype=np.float32), np.array([0, 0, 255], dtype=np.float32)
BY_NAME = dict(zip(NAMES, SIGNS, strict=True))


def black(side_px: int = 200) -> Canvas:
    return Canvas(np.zeros((side_px, side_px, 3), dtype=np.float32))


def extent(changed: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(changed)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_there_are_six_classes_or_more_in_different_colours():
    assert len(set(NAMES)) == len(SIGNS) >= 6
    assert len({sign.body_hsv for sign in SIGNS}) == len(SIGNS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_a_box_is_the_extent_of_the_painted_pixels_even_when_rotated(name, angle):
    canvas = black()
    canvas.paint(BY_NAME[name], Pose((93.3, 104.6), 77.0, angle, 0.8), GREEN, RED, object_id=1)
    painted = canvas.image.max(axis=2) > 127  # more than half covered: both colours are at full strength
    assert canvas.box(1) == pytest.approx(extent(painted), abs=1)
    left, top, right, bottom = canvas.box(1)
    assert max(right - left, bottom - top) == pytest.approx(77, abs=2)


def test_a_box_is_clipped_to_the_image():
    canvas = black()
    canvas.paint(BY_NAME["square"], Pose((0.0, 100.0), 40.0, 0.0, 1.0), GREEN, RED, object_id=1)
    assert canvas.box(1) == (0, 80, 20, 120)


def test_a_half_occluded_object_has_a_box_around_its_visible_part():
    canvas = black()
    canvas.paint(BY_NAME["square"], Pose((60.0, 60.0), 40.0, 0.0, 1.0), GREEN, GREEN, object_id=1)
    canvas.paint(BY_NAME["square"], Pose((80.0, 60.0), 40.0, 0.0, 1.0), RED, RED)
    assert canvas.box(1) == extent(canvas.image[..., 1] > 127) == (40, 40, 60, 80)


@pytest.mark.parametrize(("overlap_px", "has_box"), [(25, True), (31, False), (40, False)])
def test_an_object_that_is_mostly_occluded_has_no_box(overlap_px, has_box):
    assert 1 - 25 / 40 > MIN_VISIBLE > 1 - 31 / 40
    canvas = black()
    canvas.paint(BY_NAME["square"], Pose((60.0, 60.0), 40.0, 0.0, 1.0), GREEN, GREEN, object_id=1)
    canvas.paint(BY_NAME["square"], Pose((100.0 - overlap_px, 60.0), 40.0, 0.0, 1.0), RED, RED, object_id=2)
    assert (canvas.box(1) is not None) == has_box
    assert canvas.box(2) is not None


def test_an_object_that_is_mostly_outside_has_no_box():
    canvas = black()
    canvas.paint(BY_NAME["square"], Pose((-10.0, 60.0), 40.0, 0.0, 1.0), GREEN, GREEN, object_id=1)
    canvas.paint(BY_NAME["square"], Pose((-60.0, 60.0), 40.0, 0.0, 1.0), GREEN, GREEN, object_id=2)
    assert canvas.box(1) is None
    assert canvas.box(2) is None


def test_the_hole_of_the_ring_is_transparent():
    canvas = black()
    canvas.paint(BY_NAME["ring"], Pose((100.0, 100.0), 100.0, 0.0, 1.0), GREEN, GREEN, object_id=1)
    assert canvas.object_ids[100, 100] == canvas.object_ids[100, 80] == canvas.object_ids[120, 100] == 0
    assert canvas.object_ids[100, 60] == 1
