"""Objects of two models are matched once each, and a frame's scores are sums over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.disagreement.frame_scores import (
    AGREED,
    EXTRA,
    MISSED,
    count_kinds,
    mean_agreement,
    rank,
    score_frame,
)
from fgd_yolo.labelling import ImageLabels, LabelledObject

HERE, BESIDE, AWAY = (0.2, 0.2, 0.2, 0.2), (0.22, 0.2, 0.2, 0.2), (0.8, 0.8, 0.2, 0.2)


def labels(*objects: tuple[float, tuple[float, ...]] | tuple[float, tuple[float, ...], int]) -> ImageLabels:
    found = [LabelledObject((*rest, 0)[0], score, box) for score, box, *rest in objects]
    return ImageLabels(Path("a.jpg"), 100, 100, tuple(found))


def kinds(frame) -> list[tuple[str, float, float]]:
    return sorted((entry.kind, *entry.scores) for entry in frame.objects)


def test_an_object_of_both_is_agreed_and_adds_the_difference_of_the_scores():
    frame = score_frame(labels((0.9, HERE)), labels((0.6, BESIDE)), confident=0.5)
    (entry,) = frame.objects
    assert (entry.kind, entry.scores) == (AGREED, (0.9, 0.6))
    assert entry.overlap == pytest.approx(0.18 / 0.22)
    assert frame.disagreement == pytest.approx(0.3)
    assert frame.agreement == pytest.approx(0.6 / 0.9)


def test_what_one_model_does_not_see_has_the_score_0_there():
    frame = score_frame(labels((0.9, HERE)), labels((0.7, AWAY)), confident=0.5)
    assert kinds(frame) == [(EXTRA, 0.0, 0.7), (MISSED, 0.9, 0.0)]
    assert frame.disagreement == pytest.approx(1.6)
    assert frame.agreement == 0


def test_what_one_model_is_unsure_of_is_missed_and_adds_less():
    frame = score_frame(labels((0.9, HERE)), labels((0.3, HERE)), confident=0.5)
    assert kinds(frame) == [(MISSED, 0.9, 0.3)]
    assert frame.disagreement == pytest.approx(0.6)


def test_another_class_or_another_place_does_not_match():
    frame = score_frame(labels((0.9, HERE, 0), (0.8, AWAY, 1)), labels((0.9, HERE, 1), (0.8, HERE, 0)), confident=0.5)
    assert kinds(frame) == [(AGREED, 0.9, 0.8), (EXTRA, 0.0, 0.9), (MISSED, 0.8, 0.0)]
    other = score_frame(labels((0.9, HERE, 0)), labels((0.8, HERE, 1)), confident=0.5)
    assert kinds(other) == [(EXTRA, 0.0, 0.8), (MISSED, 0.9, 0.0)]


def test_each_object_matches_once_and_first_those_of_which_both_are_confident():
    """The unsure box of the student lies better, but its sure one is the same object."""
    frame = score_frame(labels((0.9, HERE)), labels((0.8, BESIDE), (0.2, HERE)), confident=0.5)
    assert kinds(frame) == [(AGREED, 0.9, 0.8)]
    twice = score_frame(labels((0.9, HERE)), labels((0.8, HERE), (0.7, HERE)), confident=0.5)
    assert sorted(entry.kind for entry in twice.objects) == [AGREED, EXTRA]


def test_what_no_model_is_confident_of_does_not_count():
    frame = score_frame(labels((0.4, HERE)), labels((0.45, AWAY)), confident=0.5)
    assert (frame.objects, frame.disagreement, frame.agreement) == ((), 0, None)


def test_frames_are_ranked_and_their_agreement_is_averaged_over_those_with_objects():
    same = score_frame(labels((0.9, HERE)), labels((0.9, HERE)), confident=0.5)
    half = score_frame(labels((0.8, HERE)), labels((0.4, HERE)), confident=0.5)
    none = score_frame(labels(), labels(), confident=0.5)
    assert rank([none, same, half]) == [half, none, same]
    assert mean_agreement([none, same, half]) == pytest.approx(0.75)
    assert mean_agreement([none]) is None


def test_kinds_are_counted_by_class():
    one = score_frame(labels((0.9, HERE, 2), (0.9, AWAY, 1)), labels((0.9, HERE, 2)), confident=0.5)
    two = score_frame(labels(), labels((0.9, HERE, 2)), confident=0.5)
    assert count_kinds([one, two]) == {
        1: {MISSED: 1, EXTRA: 0, AGREED: 0},
        2: {MISSED: 0, EXTRA: 1, AGREED: 1},
    }
