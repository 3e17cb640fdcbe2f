from __future__ import annotations

import json
import time
from datetime import datetime, timezone

import pytest

from fgd_yolo.json_message import VERSION
from fgd_yolo.streams.sinks.message import gap_message, result_message, to_line
from stream_results import make_result

TWO = ((1, 0.9, (8, 8, 24, 20)), (2, 0.4, (30, 10, 40, 30)))


def test_a_message_has_the_stream_the_time_and_the_objects():
    now = time.time()
    result = make_result("door", 7, TWO, arrived=time.monotonic() - 2.0, pts=1.25, tracker_id=[5, -1])
    message = json.loads(to_line(result_message(result)))
    assert message["version"] == VERSION == 1
    assert (message["kind"], message["stream"], message["index"], message["pts_s"]) == ("result", "door", 7, 1.25)
    when = datetime.fromisoformat(message["time"].replace("Z", "+00:00"))
    assert when.tzinfo == timezone.utc and message["time"].endswith("Z")
    assert when.timestamp() == pytest.approx(now - 2.0, abs=0.5)
    assert message["age_s"] == pytest.approx(2.0, abs=0.5)
    assert message["inference_s"] == 0.01
    assert (message["height"], message["width"]) == (48, 64)
    assert [(one["class_name"], one["confidence"], one["xyxy"], one["tracker_id"]) for one in message["objects"]] == [
        ("block", 0.9, [8, 8, 24, 20], 5),
        ("wedge", 0.4, [30, 10, 40, 30], None),
    ]


def test_an_untracked_object_has_no_id_and_a_source_without_time_no_pts():
    message = result_message(make_result())
    assert "tracker_id" not in message["objects"][0] and message["pts_s"] is None and "zones" not in message


def test_zone_counts_are_in_the_message():
    result = make_result()
    result.zones = {"zones": {}, "lines": {}, "events": [{"event": "entered", "zone": "yard", "tracker_id": 1}]}
    assert json.loads(to_line(result_message(result)))["zones"] == result.zones


def test_a_gap_message_has_a_reason():
    message = gap_message("door", "refused")
    assert (message["kind"], message["stream"], message["reason"], message["version"]) == ("gap", "door", "refused", 1)


def test_a_line_is_one_line_and_always_json():
    line = to_line({"class_name": "Tür\n1", "confidence": float("nan"), "xyxy": [1.0, float("inf")]})
    assert b"\n" not in line
    assert json.loads(line) == {"class_name": "Tür\n1", "confidence": None, "xyxy": [1.0, None]}
