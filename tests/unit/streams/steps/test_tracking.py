from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.run import run
from fgd_yolo.streams.steps.tracking import ObjectTracker
from fgd_yolo.streams.stream_options import read_options
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
        assert result.detections.tracker_id.shape == (len(objects),) and result.detections.tracker_id.dtype == np.int64
        ids.append(result.detections.tracker_id.tolist())
    return ids


def test_two_objects_that_pass_each_other_keep_their_ids_in_any_order():
    frames = []
    for step in range(10):
        pair = [box(2 * step, y=2), box(40 - 2 * step, y=28)]
        frames.append(pair if step % 2 else pair[::-1])
    ids = follow(ObjectTracker(), frames)
    assert ids[0] == [-1, -1]  # seen once, not yet sure
    first, second = ids[1]
    assert {first, second} == {1, 2}
    assert ids[1:] == [[first, second] if step % 2 else [second, first] for step in range(1, 10)]


def test_ids_are_never_reused_not_even_after_a_gap():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(1)]])[-1] == [1]
    tracking.gap("door", "refused")
    tracking.gap("never seen", "refused")
    assert follow(tracking, [[box(1)], [box(2)]], start_s=101)[-1] == [2]
    tracking.gap("door", "refused")
    tracking.gap("door", "refused")
    assert follow(tracking, [[box(1), box(40)], [box(2), box(41)]], start_s=102)[-1] == [3, 4]


def test_streams_are_tracked_independently():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(1)]], "door")[-1] == [1]
    assert follow(tracking, [[box(0)], [box(1)]], "yard")[-1] == [1]
    tracking.gap("yard", "refused")
    assert follow(tracking, [[box(2)]], "door", start_s=100.2) == [[1]]


def test_a_short_occlusion_keeps_the_id_and_a_long_one_does_not():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(0)], [], [], [box(0)]])[-1] == [1]
    frames = [[]] * 15 + [[box(0)], [box(0)]]
    assert follow(tracking, frames, start_s=100.5)[-1] == [2]


def test_results_without_objects_have_no_ids():
    assert follow(ObjectTracker(), [[], [], [box(0)], [box(0)]]) == [[], [], [-1], [1]]


def test_an_object_of_a_low_score_starts_no_track_but_continues_one():
    tracking = ObjectTracker(min_confidence=0.5)
    assert follow(tracking, [[box(0, score=0.4)]] * 4) == [[-1]] * 4
    frames = [[box(0, score=0.6)], [box(0, score=0.6)], [box(0, score=0.3)]]
    assert follow(tracking, frames, start_s=101)[1:] == [[1], [1]]


def test_objects_get_new_ids_after_a_restart_of_the_source():
    tracking = ObjectTracker()
    assert follow(tracking, [[box(0)], [box(0)]], start_s=100)[-1] == [1]
    assert follow(tracking, [[box(0)], [box(0)]], start_s=0)[-1] == [2]


def test_frames_with_the_same_time_cause_no_warning():
    tracking = ObjectTracker()
    for index in range(3):
        result = make_result("door", index, (box(index),), arrived=50.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tracking(result)
    assert result.detections.tracker_id.tolist() == [1]


def test_a_missing_package_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(FGDError, match=r"trackers is not installed; run pip install 'fgd_yolo\[stream\]'"):
        ObjectTracker()


@pytest.mark.parametrize(("track", "zones"), [(True, {}), (False, {"yard": [[0, 0], [1, 0], [1, 1]]})])
def test_a_missing_package_is_an_error_before_the_model_is_loaded(track, zones, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    streams = {"door": {"source": "test://", "zones": zones}}
    options = read_options({"model": "nowhere.onnx", "streams": streams, "track": track}, None)
    with pytest.raises(FGDError, match=r"trackers is not installed"):
        run(options)
