import numpy as np

from fgd_yolo.runtime.decode import decode_anchors, decode_rows

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
    found = decode_anchors(ANCHORS, class_count=2, confidence=0.15)
    assert found.classes.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(found.scores, np.float32([0.2, 0.7, 0.25]))
    np.testing.assert_array_equal(found.boxes, [[8, 16, 12, 24], [45, 45, 55, 75], [80, 60, 100, 100]])
    np.testing.assert_array_equal(found.extras, np.float32([[1.5], [2.5], [3.5]]))


def test_a_score_at_the_threshold_is_not_above_it():
    assert decode_anchors(ANCHORS, 2, 0.25).scores.tolist() == [np.float32(0.7)]
    rows = np.array([[0, 0, 1, 1, 0.5, 0], [0, 0, 1, 1, 0.25, 0]], np.float32)
    assert decode_rows(rows, 0.25, 10).scores.tolist() == [0.5]


def test_rotated_boxes_stay_centre_and_size():
    found = decode_anchors(ANCHORS, 2, 0.5, rotated=True)
    assert found.boxes.tolist() == [[50, 60, 10, 30]] and found.extras.tolist() == [[2.5]]


def test_extras_are_not_taken_for_scores():
    found = decode_anchors(ANCHORS, class_count=1, confidence=0.9)
    assert len(found.scores) == 0 and found.extras.shape == (0, 2)


def test_the_first_rows_are_kept_in_order_and_padding_is_not():
    rows = np.zeros((6, 8), np.float32)
    rows[:4, 4] = 0.9, 0.8, 0.7, 0.1
    rows[:4, 0] = 1, 2, 3, 4
    rows[:, 5] = 2
    rows[:, 6:] = rows[:, :1] * (10, 20)
    found = decode_rows(rows, 0.25, 2)
    assert found.boxes[:, 0].tolist() == [1, 2] and found.extras.tolist() == [[10, 20], [20, 40]]
    assert found.classes.tolist() == [2, 2] and found.classes.dtype == np.int64
    assert len(decode_rows(rows, 0.0, 300).scores) == 4


def test_half_precision_outputs_give_float32():
    for found in (decode_anchors(ANCHORS.astype(np.float16), 2, 0.1), decode_rows(np.ones((2, 7), np.float16), 0.1, 9)):
        assert len(found.scores) and {found.boxes.dtype, found.scores.dtype, found.extras.dtype} == {np.dtype("f4")}


def test_nothing_above_the_threshold_gives_empty_arrays_of_the_right_width():
    found = decode_anchors(ANCHORS, 2, 1.0)
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.extras.shape == (0, 1)
    found = decode_rows(np.zeros((3, 9), np.float32), 0.5, 5)
    assert found.boxes.shape == (0, 4) and found.extras.shape == (0, 3)


def test_taking_some_keeps_all_columns_together():
    found = decode_anchors(ANCHORS, 2, 0.15).take(np.array([2, 0]))
    assert found.extras[:, 0].tolist() == [3.5, 1.5] and found.boxes[:, 0].tolist() == [80, 8]
