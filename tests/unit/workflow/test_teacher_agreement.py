"""Agreement of a student with its teacher on frames without labels."""

from pathlib import Path

import pytest

from fgd_yolo.labelling import ImageLabels, LabelledObject
from fgd_yolo.workflow.teacher_agreement import agreement_note, compare_frames


def frame(*objects: tuple[float, float], class_id: int = 0) -> ImageLabels:
    """A frame with objects of (x centre, score)."""
    found = tuple(LabelledObject(class_id, score, (x, 0.5, 0.2, 0.2)) for x, score in objects)
    return ImageLabels(Path("a.jpg"), 100, 100, found)


def test_objects_of_both_and_of_one_are_counted_with_their_scores():
    teacher = [frame((0.2, 0.9), (0.5, 0.8)), frame()]
    student = [frame((0.2, 0.7), (0.8, 0.6)), frame()]
    agreement = compare_frames(student, teacher, 0.5)
    assert agreement[:4] == (2, 1, 1, 1)
    assert agreement.agreement == pytest.approx(0.7 / (0.9 + 0.8 + 0.6))
    assert agreement.score_difference == pytest.approx(-0.2)


def test_the_calibration_error_is_that_of_a_table_by_hand():
    teacher = [frame((0.2, 0.9), (0.5, 0.8), (0.8, 0.3))]
    student = [frame((0.2, 0.75), (0.5, 0.72), (0.8, 0.15))]
    student.append(frame((0.5, 0.44)))
    teacher.append(frame())
    # Bins: 0.7 to 0.8 has two objects, 0.1 to 0.2 one, 0.4 to 0.5 one that the teacher does not see.
    expected = (abs(0.75 + 0.72 - 0.9 - 0.8) + abs(0.15 - 0.3) + 0.44) / 4
    assert compare_frames(student, teacher, 0.5).calibration_error == pytest.approx(expected)


def test_a_copy_of_the_teacher_has_no_calibration_error():
    teacher = [frame((0.2, 0.9), (0.5, 0.4), (0.8, 0.15))]
    assert compare_frames(teacher, teacher, 0.6).calibration_error == 0


def test_without_objects_there_is_nothing_to_say():
    agreement = compare_frames([frame()], [frame()], 0.5)
    assert agreement == (1, 0, 0, 0, None, None, None)
    lines = agreement_note({"teacher": "t", "score": 0.5}, agreement._asdict())
    assert "agreement with t, not accuracy" in lines[0]
    assert lines[1] == "On 1 held-out frames 0 objects seen by both, 0 missed, 0 only by the student."
