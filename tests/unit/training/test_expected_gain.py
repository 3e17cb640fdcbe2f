import csv

import pytest

from fgd_yolo.config import FGDConfig
from fgd_yolo.training import expected_gain as module
from fgd_yolo.training.expected_gain import FIRST_STEPS, KINDS, PooledPairs, expected_gain, is_compared, pooled_pairs

LONG = PooledPairs(
    "fgd+heads", "YOLOv8 and YOLO11", "yolov8n and yolo11n", 1000, 12, 3, 3.56, 2.16, 4.96, 0.354, 128, 320
)
MIDDLE = PooledPairs("fgd+heads", "YOLOv8 and YOLO11", "yolov8n", 400, 6, 1, 0.4, -1.0, 1.8, 0.354, 128, 128)
SHORT = PooledPairs("fgd+heads", "YOLOv8 and YOLO11", "yolov8n", 0, 1, 1, -2.95, None, None, 0.472, 128, 128)
END_TO_END = PooledPairs("fgd+heads", "YOLO26", "yolo26n", 400, 3, 1, -1.9, -4.4, 0.6, 0.538, 128, 128)
KNOWN = [LONG, MIDDLE, SHORT, END_TO_END]
GAIN = (
    "yolov8n and yolo11n with fgd+heads ended 3.6 mAP50-95 points above plain training (95 % interval +2.2 to +5.0, 12 "
    "pairs on 3 data sets) in runs of at least 1000 optimizer steps"
)
LOSS = (
    "yolo26n with fgd+heads ended 1.9 mAP50-95 points below plain training (95 % interval -4.4 to +0.6, 3 pairs on 1 "
    "data set) in runs of 400 to 999 optimizer steps"
)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ((0.5, 1000, 128), f"expect a gain: {GAIN}"),
        ((0.354, 9999, 320), f"expect a gain: {GAIN}"),
        (
            (0.353, 1000, 128),
            "expect little: the teacher is weak on this data, mAP50-95 0.353, in the comparisons at least 0.354 on "
            "theirs; what counts is that it is better than the student trained without it",
        ),
        (
            (0.5, 1000, 640),
            "nothing was measured for a run like this (640 px): at 128 to 320 px, from random weights and with "
            f"teachers of at least 0.354, {GAIN}",
        ),
        (
            (0.5, 999, 128),
            "expect little: yolov8n with fgd+heads ended 0.4 mAP50-95 points above plain training (95 % "
            "interval -1.0 to +1.8, 6 pairs on 1 data set) in runs of 400 to 999 optimizer steps",
        ),
        (
            (0.5, 399, 128),
            "it is hardly known what to expect: yolov8n with fgd+heads ended 3.0 mAP50-95 points below plain "
            "training (1 pair on 1 data set) in runs of fewer than 400 optimizer steps",
        ),
    ],
    ids=str,
)
def test_what_to_expect_is_said_with_the_figures_behind_it(run, expected):
    assert expected_gain(*run, method="fgd+heads", student="yolov8n", pretrained=False, measured=KNOWN) == expected


def test_a_run_unlike_all_others_is_told_so():
    text = expected_gain(0.5, 2000, 64, method="fgd+heads", student="yolov8n", pretrained=True, measured=KNOWN)
    assert text == (
        "nothing was measured for a run like this (64 px, a student that starts from weights): at 128 to 320 px, from "
        f"random weights and with teachers of at least 0.354, {GAIN}"
    )
    assert expected_gain(0.5, 2000, 128, method="fgd+heads", student="yolo26n", pretrained=False, measured=KNOWN) == (
        "it is not known what to expect: there is no comparison of YOLO26 with fgd+heads and about 2000 optimizer steps"
    )
    assert expected_gain(0.5, 2000, 128, method="fgd+heads", student="yolov5nu", pretrained=False, measured=KNOWN) == (
        "it is not known what to expect: there is no comparison of students of this family"
    )


def test_each_method_is_judged_by_its_own_pairs():
    other = PooledPairs("heads", "YOLOv8 and YOLO11", "yolov8n", 1000, 5, 2, -1.0, -2.0, 0.1, 0.5, 128, 128)
    rules = {"student": "yolov8n", "pretrained": False, "measured": [*KNOWN, other]}
    assert expected_gain(0.5, 1000, 128, method="heads", **rules).startswith("expect little, or a loss: yolov8n with")
    assert expected_gain(0.5, 1000, 128, method="fgd+heads", **rules) == f"expect a gain: {GAIN}"
    assert "YOLOv8 and YOLO11 with mgd and" in expected_gain(0.5, 1000, 128, method="mgd", **rules)


def test_a_kind_of_student_that_lost_is_told_so():
    text = expected_gain(0.55, 500, 128, method="fgd+heads", student="yolo26n", pretrained=False, measured=KNOWN)
    assert text == f"expect little, or a loss: {LOSS}"


def test_a_teacher_below_those_of_its_pairs_is_promised_nothing_though_other_pairs_had_such_teachers():
    text = expected_gain(0.4, 500, 128, method="fgd+heads", student="yolo26n", pretrained=False, measured=KNOWN)
    assert text == (
        "nothing was measured for a run like this (a teacher with mAP50-95 0.400): at 128 px, from random weights and "
        f"with teachers of at least 0.538, {LOSS}"
    )


def test_the_file_of_the_package_is_read_as_it_is():
    with module.FILE.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(pooled_pairs()) >= 4
    for row, entry in zip(rows, pooled_pairs(), strict=True):
        assert {name: "" if value is None else str(value) for name, value in vars(entry).items()} == row
        assert entry.student in KINDS.values() and entry.first_step in FIRST_STEPS
        assert entry.pairs > 1 or entry.low is None


@pytest.mark.parametrize(
    ("options", "compared"),
    [
        ({}, True),
        ({"method": "fgd+heads"}, True),
        ({"method": "heads"}, True),  # the default of a student without DFL
        ({"pictures_every": 0}, True),
        ({"map": "cell=RBC"}, True),
        ({"method": "mgd"}, False),
        ({"heads": {"ratio": 0.25}}, False),
        ({"teacher_imgsz": 640}, False),
        ({"inherit": True}, False),
    ],
)
def test_a_run_is_compared_by_the_options_that_change_its_result(options, compared):
    assert is_compared(FGDConfig(**options)) is compared


def test_two_pairs_are_too_few_to_expect_anything():
    two = PooledPairs("heads", "YOLO26", "yolo26n", 400, 2, 2, 0.8, -17.4, 18.9, 0.5, 128, 128)
    text = expected_gain(0.5, 500, 128, method="heads", student="yolo26n", pretrained=False, measured=[two])
    assert text.startswith("it is hardly known what to expect: yolo26n with heads ended 0.8 mAP50-95 points above")
