"""Two sets of boxes are the same, except for rounding."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.export.matching import (
    apply_nms,
    has_similar,
    missing_detections,
    nearest_differences,
    output_differences,
    row_differences,
)
from fgd_yolo.export.precisions import Tolerance

FINE = Tolerance(box_px=0.1, score=1e-3, extra=2e-4, overlap=0.01)
COARSE = Tolerance(box_px=1.0, score=0.03, extra=0.02, overlap=0.05, above=0.1, any_class=True)


def test_differences_of_boxes_scores_and_extras_are_separate():
    raw = torch.zeros(1, 4 + 3 + 2, 5)
    moved, rescored, other = raw.clone(), raw.clone(), raw.clone()
    moved[0, 3, 2], rescored[0, 6, 1], other[0, 8, 4] = -2.0, 0.5, 0.25
    assert output_differences(raw, moved, 3, -1).tolist() == [2.0, 0.0, 0.0]
    assert output_differences(raw, rescored, 3, -1).tolist() == [0.0, 0.5, 0.0]
    assert output_differences(raw, other, 3, -1).tolist() == [0.0, 0.0, 0.25]


def test_differences_of_extras_are_relative_to_the_largest_value():
    raw = torch.zeros(1, 4 + 1 + 1, 2)
    raw[0, 5, 0] = -50.0
    other = raw.clone()
    other[0, 5, 1] = 1.0
    assert output_differences(raw, other, 1, -1).tolist() == pytest.approx([0, 0, 0.02])


def test_boxes_without_an_object_can_be_ignored_but_never_their_scores():
    raw = torch.zeros(1, 4 + 2, 2)
    raw[0, 5, 0] = 0.5
    other = raw.clone()
    other[0, 0] = torch.tensor([3.0, 7.0])
    other[0, 4, 1] = 0.9
    assert output_differences(raw, other, 2, 0.1).tolist() == pytest.approx([3, 0.9, 0])
    assert output_differences(raw, other, 2, -1).tolist() == pytest.approx([7, 0.9, 0])


ROWS = torch.tensor(
    [
        [10.0, 10.0, 30.0, 30.0, 0.9000, 0.0],
        [50.0, 50.0, 70.0, 70.0, 0.8000, 1.0],
        [20.0, 20.0, 40.0, 40.0, 0.8000, 1.0],
        [0.0, 0.0, 5.0, 5.0, 0.1000, 2.0],
    ]
)


def test_rows_of_equal_score_may_change_places():
    assert row_differences(ROWS, ROWS[[0, 2, 1, 3]], FINE).tolist() == [0, 0, 0]


def test_a_row_at_the_cut_of_top_k_may_be_another_anchor():
    other = ROWS.clone()
    other[3, :4] += 40
    assert row_differences(ROWS, other, FINE).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("column", "amount"), [(0, 1.0), (3, -1.0), (5, 1.0)])
def test_a_row_that_moved_or_changed_class_is_a_difference(column, amount):
    other = ROWS.clone()
    other[1, column] += amount
    assert row_differences(ROWS, other, FINE)[0] > FINE.box_px


def test_a_score_that_moved_is_a_difference():
    other = ROWS.clone()
    other[0, 4] += 0.01
    assert float(row_differences(ROWS, other, FINE)[1]) == pytest.approx(0.01, rel=1e-3)


def test_a_score_at_the_cut_is_compared_by_its_place():
    other = ROWS.clone()
    other[3, 4] = 0.15
    assert row_differences(ROWS, other, FINE).tolist() == pytest.approx([0, 0.05, 0])


def test_a_row_of_another_class_is_a_difference_unless_rounding_is_coarse():
    other = ROWS.clone()
    other[0, 5] = 2
    assert row_differences(ROWS, other, FINE).isinf().all()
    assert row_differences(ROWS, other, COARSE).tolist() == [0, 0, 0]


def test_a_keypoint_of_a_row_that_moved_is_a_difference():
    rows = torch.cat((ROWS, torch.full((4, 2), 40.0)), 1)
    other = rows.clone()
    other[2, 7] += 1
    assert row_differences(rows, other, FINE).tolist() == pytest.approx([0, 0, 1 / 40])


def test_a_duplicate_row_in_place_of_another_is_a_difference():
    assert row_differences(ROWS, ROWS[[0, 1, 1, 3]], FINE)[0] > FINE.box_px


def detections(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)


def count_missing(detections, others, tolerance=FINE, rotated=False):
    return int(missing_detections(detections, others, tolerance, rotated).sum())


BOX = [10, 10, 30, 30, 0.9, 0]


def test_a_detection_that_the_other_lacks_is_missing():
    assert missing_detections(detections([50, 50, 70, 70, 0.8, 0], BOX), detections(BOX), FINE).tolist() == [
        True,
        False,
    ]
    assert count_missing(detections(BOX), detections()) == 1
    assert count_missing(detections(), detections(BOX)) == 0


def test_a_detection_of_another_class_or_position_or_a_lower_score_is_not_a_match():
    assert count_missing(detections(BOX), detections([10, 10, 30, 30, 0.9, 1])) == 1
    assert count_missing(detections(BOX), detections([16, 10, 36, 30, 0.9, 0])) == 1
    assert count_missing(detections(BOX), detections([11, 10, 31, 30, 0.8, 0])) == 1


def test_a_detection_is_not_missing_where_nms_resolved_a_tie_the_other_way():
    assert count_missing(detections(BOX), detections([11, 10, 31, 30, 0.9, 0])) == 0


def test_a_detection_at_the_confidence_threshold_may_be_on_one_side_only():
    assert count_missing(detections([10, 10, 30, 30, 0.2505, 0]), detections()) == 0
    assert count_missing(detections([10, 10, 30, 30, 0.2520, 0]), detections()) == 1


def test_a_box_without_area_equals_itself():
    assert count_missing(detections([30, 30, 10, 10, 0.9, 0]), detections([30, 30, 10, 10, 0.9, 0])) == 0


def test_coarse_rounding_may_swap_two_classes_of_one_box_but_not_move_it():
    assert count_missing(detections(BOX), detections([10.5, 10, 30, 30, 0.88, 1]), COARSE) == 0
    assert count_missing(detections(BOX), detections([16, 10, 36, 30, 0.9, 1]), COARSE) == 1
    assert count_missing(detections(BOX), detections([10, 10, 30, 30, 0.5, 1]), COARSE) == 1


def rotated(angle, cx=50.0, score=0.9):
    return torch.tensor([[cx, 50.0, 40.0, 10.0, score, 0.0, angle]])


def test_rotated_boxes_are_compared_by_their_own_overlap():
    assert (
        count_missing(rotated(0.0), rotated(1.5), COARSE, rotated=True) == 1
    )  # crossed: the corners' boxes would overlap
    assert count_missing(rotated(0.0), rotated(0.1), COARSE, rotated=True) == 0
    assert count_missing(rotated(0.0), rotated(0.0, cx=95), COARSE, rotated=True) == 1
    assert has_similar(rotated(0.0), rotated(0.1), rotated=True).tolist() == [True]
    assert has_similar(rotated(0.0), rotated(1.5), rotated=True).tolist() == [False]


def test_similar_boxes_overlap_by_half_and_have_one_class():
    others = detections([10, 10, 30, 20.5, 0.3, 0], [50, 50, 70, 70, 0.9, 1])
    boxes = detections(BOX, [10, 10, 30, 40, 0.9, 0], [50, 50, 70, 70, 0.9, 0])
    assert has_similar(boxes, others).tolist() == [True, False, False]
    assert has_similar(boxes, detections()).tolist() == [False] * 3


def test_the_nearest_row_is_searched_among_all():
    others = detections([10, 10, 30, 34, 0.9, 0], [10, 10, 30, 30.05, 0.9, 0], [*BOX[:5], 1])
    assert nearest_differences(detections(BOX), others, FINE)[0].tolist() == pytest.approx([0.05, 0, 0], abs=1e-5)


def test_detections_are_those_of_ultralytics_prediction():
    raw = torch.zeros(1, 4 + 2 + 1, 4)
    raw[0, :4] = torch.tensor([[50, 51, 50, 20], [50, 50, 50, 20], [20, 20, 20, 10], [20, 20, 20, 10.0]])
    raw[0, 4:6] = torch.tensor([[0.9, 0.8, 0.0, 0.2], [0.0, 0.0, 0.7, 0.0]])
    raw[0, 6] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (detected,) = apply_nms(raw, 2, end2end=False, rotated=False)
    assert detected[:, [0, 2, 4, 5, 6]].tolist() == [
        pytest.approx([40, 60, 0.9, 0, 1]),
        pytest.approx([40, 60, 0.7, 1, 3]),
    ]
    (rows,) = apply_nms(ROWS[None], 3, end2end=True, rotated=True)
    assert rows.tolist() == ROWS[:3].tolist()
