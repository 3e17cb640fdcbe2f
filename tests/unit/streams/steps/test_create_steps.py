from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.steps import create_steps
from fgd_yolo.streams.stream_options import RunOptions

NAMES = {0: "disc", 1: "block"}
ZONE = {"yard": [[0, 0], [1, 0], [1, 1]]}


def created(**options):
    return [type(step).__name__ for step in create_steps(RunOptions(model="best.onnx", **options), NAMES)]


def test_a_run_has_no_steps_by_default():
    assert created() == []


def test_the_class_filter_comes_first_and_the_zones_come_after_the_track_ids_that_they_need():
    streams = {"door": {"source": "test://", "zones": ZONE}}
    assert created(streams=streams, classes=["disc"]) == ["ClassFilter", "ObjectTracker", "ZoneCounter"]
    assert created(track=True) == ["ObjectTracker"]


def test_an_unknown_class_is_an_error():
    with pytest.raises(UsageError, match="class 'wedge' is unknown"):
        created(classes=["wedge"])
