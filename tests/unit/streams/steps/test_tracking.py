from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.steps.tracking import ObjectTracker
from stream_results import make_result

PERIOD_S = 0.1


def box(x: float, y: float = 10, score: float = 0.9) -> tuple:
    return (1, score, (x, y, x + 16, y + 16))


def follow(
    tracking: ObjectTracker, frames: list[list[tuple]], stream: str = "door", start_s: float = 100.0
) -> list[list[int]]:
    """Return the ids of each frame, frames being a period apart."""
    ids = []
    for index, objects in enumerate(frames):
        result = make_result(stream, index, tuple(objects), pts=start_s + index * PERIOD_S)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tracking(result)
        assert result.ids.shape == (len(objects),) and result.ids.dtype == np.int64
        ids.append(result.ids.tolist())
    return ids


def test_two_that_pass_each_other_keep_their_ids_whatever_their_order():
    frames = []
    for step in range(10):
        pair = [box(2 * step, y=2), box(40 - 2 * step, y=28)]
        frames.append(pair if step % 2 else pair[::-1])
    ids = follow(ObjectTracker(), frames)
    assert ids[0] == [-1, -1]  # seen once, not yet sure
    first, second = ids[1]
    assert {first, second} == {1, 2}
    assert ids[1:] == [[first, second] if step % 2 else [second, first] for step in range(1, 10)]


def test_ids_are_never_used_again_not_even_after_a_gap():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(1)]])[-1] == [1]
    tracking.gap("door", "refused")
    tracking.gap("never seen", "refused")
    assert follow(tracking, [[box(1)], [box(2)]], start_s=101)[-1] == [2]
    tracking.gap("door", "refused")
    tracking.gap("door", "refused")
    assert follow(tracking, [[box(1), box(40)], [box(2), box(41)]], start_s=102)[-1] == [3, 4]


def test_streams_do_not_know_of_each_other():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(1)]], "door")[-1] == [1]
    assert follow(tracking, [[box(0)], [box(1)]], "yard")[-1] == [1]
    tracking.gap("yard", "refused")
    assert follow(tracking, [[box(2)]], "door", start_s=100.2) == [[1]]


def test_who_is_hidden_for_a_moment_is_known_again_and_for_long_is_not():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(0)], [], [], [box(0)]])[-1] == [1]
    frames = [[]] * 15 + [[box(0)], [box(0)]]
    assert follow(tracking, frames, start_s=100.5)[-1] == [2]


def test_results_without_objects_have_no_ids():
    assert follow(ObjectTracker(), [[], [], [box(0)], [box(0)]]) == [[], [], [-1], [1]]


def test_a_weak_object_begins_no_track_and_continues_one():
    tracking = ObjectTracker(min_score=0.5)
    assert follow(tracking, [[box(0, score=0.4)]] * 4) == [[-1]] * 4
    frames = [[box(0, score=0.6)], [box(0, score=0.6)], [box(0, score=0.3)]]
    assert follow(tracking, frames, start_s=101)[1:] == [[1], [1]]


def test_a_source_that_begins_anew_has_new_ids():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(0)]], start_s=100)[-1] == [1]
    assert follow(tracking, [[box(0)], [box(0)]], start_s=0)[-1] == [2]


def test_frames_of_one_time_are_taken_in_silence():
    tracking = ObjectTracker()
    for index in range(3):
        result = make_result("door", index, (box(index),), arrived=50.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tracking(result)
    assert result.ids.tolist() == [1]


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(FGDError, match=r"trackers is not installed; run pip install 'fgd_yolo\[stream\]'"):
        ObjectTracker()
