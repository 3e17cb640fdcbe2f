from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.choice import Choice
from stream_results import NAMES, make_result

TWO = ((1, 0.9, (8, 8, 24, 20)), (2, 0.4, (30, 10, 40, 30)))


@pytest.mark.parametrize(("classes", "left"), [(["wedge"], [2]), ([1, "2"], [1, 2]), (["disc"], []), ([], [])])
def test_the_objects_of_chosen_classes_are_left_in_a_result(classes, left):
    result = make_result(objects=TWO)
    Choice(NAMES, classes)(result)
    assert result.detections.classes.tolist() == left
    assert result.detections.boxes.shape == (len(left), 4)


def test_a_class_that_the_model_does_not_know_is_refused_with_a_close_match():
    with pytest.raises(UsageError, match=r"class 'wegde' is unknown.*wedge"):
        Choice(NAMES, ["wegde"])
