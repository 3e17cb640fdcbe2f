import numpy as np

from fgd_yolo.runtime.decode import decode_anchors, decode_rows, fractions_to_corners

ANCHORS = np.array(
    [  # three anchors, each a column: centre, size, two class scores, one extra
        [10, 50, 90],
        [20, 60, 80],
        [4, 10, 20],
        [8, 30, 40],
        [0.1, 0.7, 0.25],
        [0.2, 0.3, 0.1],
        [1.5, 2.5, 3.5],
    ],
    np.float32,
)


def test_only_anchors_above_the_threshold_are_candidates_with_their_best_class():
    candidates = decode_anchors(ANCHORS, class_count=2, confidence=0.15)
    assert candidates.classes.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(candidates.scores, np.float32([0.2, 0.7, 0.25]))
    np.testing.assert_array_equal(candidates.boxes, [[8, 16, 12, 24], [45, 45, 55, 75], [80, 60, 100, 100]])
    np.testing.assert_array_equal(candidates.extras, np.float32([[1.5], [2.5], [3.5]]))


def test_a_score_at_the_threshold_is_not_above_it():
    assert decode_anchors(ANCHORS, 2, 0.25).scores.tolist() == [np.float32(0.7)]
    rows = np.array([[0, 0, 1, 1, 0.5, 0], [0, 0, 1, 1, 0.25, 0]], np.float32)
    assert decode_rows(rows, 0.25, 10).scores.tolist() == [0.5]


def test_rotated_boxes_stay_centre_and_size():
    candidates = decode_anchors(ANCHORS, 2, 0.5, rotated=True)
    assert candidates.boxes.tolist() == [[50, 60, 10, 30]] and candidates.extras.tolist() == [[2.5]]


def test_extras_are_not_read_as_scores():
    candidates = decode_anchors(ANCHORS, class_count=1, confidence=0.9)
    assert len(candidates.scores) == 0 and candidates.extras.shape == (0, 2)


def test_the_first_rows_are_returned_in_order_without_padding():
    rows = np.zeros((6, 8), np.float32)
    rows[:4, 4] = 0.9, 0.8, 0.7, 0.1
    rows[:4, 0] = 1, 2, 3, 4
    rows[:, 5] = 2
    rows[:, 6:] = rows[:, :1] * (10, 20)
    candidates = decode_rows(rows, 0.25, 2)
    assert candidates.boxes[:, 0].tolist() == [1, 2] and candidates.extras.tolist() == [[10, 20], [20, 40]]
    assert candidates.classes.tolist() == [2, 2] and candidates.classes.dtype == np.int64
    assert len(decode_rows(rows, 0.0, 300).scores) == 4


def test_half_precision_outputs_give_float32():
    for candidates in (
        decode_anchors(ANCHORS.astype(np.float16), 2, 0.1),
        decode_rows(np.ones((2, 7), np.float16), 0.1, 9),
    ):
        assert len(candidates.scores) and {
            candidates.boxes.dtype,
            candidates.scores.dtype,
            candidates.extras.dtype,
        } == {np.dtype("f4")}


def test_no_candidates_give_empty_arrays_of_the_right_width():
    candidates = decode_anchors(ANCHORS, 2, 1.0)
    assert candidates.boxes.shape == (0, 4) and candidates.scores.shape == (0,) and candidates.extras.shape == (0, 1)
    candidates = decode_rows(np.zeros((3, 9), np.float32), 0.5, 5)
    assert candidates.boxes.shape == (0, 4) and candidates.extras.shape == (0, 3)


def test_a_selection_keeps_all_columns_together():
    candidates = decode_anchors(ANCHORS, 2, 0.15).take(np.array([2, 0]))
    assert candidates.extras[:, 0].tolist() == [3.5, 1.5] and candidates.boxes[:, 0].tolist() == [80, 8]


def test_fractions_become_corners_in_pixels_of_the_canvas():
    boxes = np.array([[0.5, 0.5, 1.0, 1.0], [0.25, 0.5, 0.1, 0.2]], np.float32)
    corners = fractions_to_corners(boxes, (100, 200))
    np.testing.assert_allclose(corners, [[0, 0, 200, 100], [40, 40, 60, 60]], rtol=1e-5)
