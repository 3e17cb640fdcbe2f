from __future__ import annotations

import pytest

from fgd_yolo.export.int8 import Int8Report, _Attempt, _attempts, _best, _largest_drop, _refusal
from fgd_yolo.export.int8_checks import LabelCheck
from fgd_yolo.task_table import TASKS, Accuracy
from graphs import detector

DETECT = LabelCheck(TASKS["detect"], "data.yaml")
LAYERS = [[f"{index}a", f"{index}b"] for index in range(9)]


def boxes(map50_95, map50=0.9):
    return Accuracy(map50_95, map50, map50_95, map50)


def attempt_with(drop, speed, float_nodes=()):
    return _Attempt(detector(), tuple(float_nodes), boxes(0.5 - drop / 100), drop, speed)


class Search:
    """Returns prepared results one after the other, and records the calls."""

    def __init__(self, *results):
        self.results = iter(results)
        self.calls = []

    def attempt(self, float_nodes):
        self.calls.append(len(float_nodes))
        return attempt_with(*next(self.results), float_nodes)

    def ranked_layers(self):
        self.calls.append("ranked")
        return LAYERS


@pytest.mark.parametrize(
    ("results", "calls"),
    [
        ([(0.5, 2.0)], [0]),
        ([(5.0, 0.9)], [0]),
        ([(5.0, 2.0), (0.9, 1.9)], [0, "ranked", 2]),
        ([(5.0, 2.0), (5.0, 1.9), (4.0, 1.8), (3.0, 1.7), (1.0, 1.6)], [0, "ranked", 2, 4, 8, 16]),
        ([(5.0, 2.0), (5.0, 1.9), (4.0, 1.8), (3.0, 1.7), (2.0, 1.6)], [0, "ranked", 2, 4, 8, 16]),
        ([(5.0, 2.0), (5.0, 1.5), (4.0, 1.0)], [0, "ranked", 2, 4]),
    ],
)
def test_layers_return_to_float_1_2_4_8_at_a_time_until_accepted_or_no_longer_faster(results, calls):
    search = Search(*results)
    assert len(list(_attempts(search, 1.0))) == len(results)
    assert search.calls == calls


def test_the_most_sensitive_layers_return_first():
    search = Search((5.0, 2.0), (5.0, 2.0), (0.0, 2.0))
    assert list(_attempts(search, 1.0))[-1].float_nodes == ("0a", "0b", "1a", "1b")


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(0.9, 2.0)], 0),
        ([(5.0, 2.0), (0.9, 1.5)], 1),
        ([(5.0, 2.0), (3.0, 1.5), (0.0, 0.9)], 1),
        ([(0.9, 2.0), (-0.5, 1.5)], 0),
        ([(5.0, 0.9), (3.0, 0.8)], 1),
    ],
)
def test_the_best_is_faster_then_within_the_drop_then_first(results, best):
    attempts = [attempt_with(*result) for result in results]
    assert _best(attempts, 1.0) is attempts[best]


def test_faster_means_faster_and_the_limit_itself_is_allowed():
    assert attempt_with(1.0, 1.01).accepted(1.0)
    assert not attempt_with(1.0, 1.0).accepted(1.0)
    assert not attempt_with(1.01, 2.0).accepted(1.0)


def test_of_several_maps_the_worst_drop_counts_and_map50_does_not():
    before = Accuracy(0.40, 0.9, 0.50, 0.9)
    assert _largest_drop(before, Accuracy(0.37, 0.1, 0.49, 0.1)) == pytest.approx(3)
    assert _largest_drop(before, Accuracy(0.39, 0.1, 0.48, 0.1)) == pytest.approx(2)
    assert _largest_drop(before, Accuracy(0.42, 0.1, 0.51, 0.1)) == pytest.approx(-1)


def test_the_loss_cannot_be_measured_if_float32_has_no_more_than_the_allowed_loss():
    assert DETECT.flaw(boxes(0.0), 0.0)
    assert DETECT.flaw(boxes(0.009), 1.0)
    assert not DETECT.flaw(boxes(0.011), 1.0)
    assert not DETECT.flaw(boxes(0.5), 100.0)  # every loss is allowed
    assert "float32 itself has 0.90 mAP50-95 points" in _refusal(attempt_with(0.0, 2.0), DETECT, boxes(0.009), 1.0)


def test_a_refusal_gives_the_numbers_and_the_attempt():
    sentence = _refusal(attempt_with(5.0, 1.25, ["a", "b"]), DETECT, boxes(0.5), 1.0)
    for part in ("1.25 times as fast", "5.00 mAP50-95 points", "0.5000 to 0.4500", "2 sensitive nodes", "may lose 1"):
        assert part in sentence


def test_the_summary_and_the_refusal_of_a_mask_model_name_masks_and_boxes():
    before, after = Accuracy(0.40, 0.7, 0.50, 0.9), Accuracy(0.38, 0.7, 0.51, 0.9)
    report = Int8Report((), {}, LabelCheck(TASKS["segment"], "data.yaml"), before, after, 2.0, 1.5)
    assert report.summary()[:2] == [
        "mAP50-95 of masks 40.00 in fp32, 38.00 in int8: 2.00 points lost",
        "mAP50-95 of boxes 50.00 in fp32, 51.00 in int8: 1.00 points gained",
    ]
    attempt = _Attempt(detector(), (), after, 2.0, 1.5)
    assert "(masks: 0.4000 to 0.3800, boxes: 0.5000 to 0.5100)" in _refusal(
        attempt, LabelCheck(TASKS["segment"], "data.yaml"), before, 1.0
    )
