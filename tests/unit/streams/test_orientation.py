from __future__ import annotations

import struct

import numpy as np
import pytest

from fgd_yolo.streams.orientation import apply_display_matrix

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
# With numpy alone. np.rot90 rotates counterclockwise.
EXPECTED = {
    (1, 0, 0, 1): IMAGE,
    (0, 1, -1, 0): np.rot90(IMAGE, -1),
    (-1, 0, 0, -1): np.rot90(IMAGE, 2),
    (0, -1, 1, 0): np.rot90(IMAGE),
    (-1, 0, 0, 1): IMAGE[:, ::-1],
    (1, 0, 0, -1): IMAGE[::-1],
    (0, 1, 1, 0): IMAGE.transpose(1, 0, 2),
    (0, -1, -1, 0): np.rot90(IMAGE, 2).transpose(1, 0, 2),
}


def matrix(a: float, b: float, c: float, d: float, shift: tuple[int, int] = (0, 0)) -> bytes:
    values = (a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, shift[0] * 65536, shift[1] * 65536, 1 << 30)
    return struct.pack("=9i", *map(round, values))


@pytest.mark.parametrize("turn", EXPECTED)
def test_every_quarter_turn_and_mirroring_equals_that_of_numpy(turn):
    image = apply_display_matrix(IMAGE, matrix(*turn))
    np.testing.assert_array_equal(image, EXPECTED[turn])
    assert image.flags.c_contiguous


def test_a_shift_and_a_scale_of_the_matrix_do_not_matter():
    np.testing.assert_array_equal(apply_display_matrix(IMAGE, matrix(0, 2, -1.5, 0, (1080, 0))), np.rot90(IMAGE, -1))


@pytest.mark.parametrize("turn", [(0.7, 0.7, -0.7, 0.7), (0, 0, 0, 0), (0.9, 0.5, -0.5, 0.9)])
def test_other_angles_and_an_empty_matrix_leave_the_frame_as_it_is_stored(turn):
    np.testing.assert_array_equal(apply_display_matrix(IMAGE, matrix(*turn)), IMAGE)


def test_an_angle_that_is_a_quarter_but_for_rounding_is_a_quarter():
    np.testing.assert_array_equal(apply_display_matrix(IMAGE, matrix(0.01, 1, -1, 0.01)), np.rot90(IMAGE, -1))
