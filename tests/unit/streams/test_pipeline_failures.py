"""What happens when the detector fails on a frame, or on all of them."""

from __future__ import annotations

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.scheduling.workers import MAX_FAILURES
from stream_parts import KeepingSink
from stream_world import BAD, PICTURE, balanced, forever


def test_a_frame_that_the_detector_fails_on_is_an_error_and_the_next_one_is_fine(world, capsys):
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("door", [PICTURE, BAD] * 20), "door")
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == {"door": list(range(0, 40, 2))}
    found = balanced(pipeline.stats())["streams"]["door"]
    assert (found["inferred"], found["dropped"]) == (20, {"error": 20})
    assert capsys.readouterr().err.count("a frame is dropped") == 1


def test_a_detector_that_always_fails_stops_the_pipeline(world):
    pipeline = Pipeline(world.detector, policy="every")
    pipeline.add(world.camera("door", [BAD] * 3 * MAX_FAILURES), "door")
    pipeline.add(world.camera("yard", forever(), 60), "yard")  # silent all the time
    with pipeline:
        with pytest.raises(FGDError, match="failed on 100 frames in a row"):
            pipeline.wait(30)
        with pytest.raises(FGDError, match="stopped"):
            pipeline.add(world.camera("late", [PICTURE]))
    found = balanced(pipeline.stats())
    assert "failed on 100 frames" in found["failure"]
    assert MAX_FAILURES <= found["streams"]["door"]["dropped"]["error"] < MAX_FAILURES + 10


def test_errors_that_are_not_in_a_row_stop_nothing(world):
    pipeline = Pipeline(world.detector, policy="every")
    pipeline.add(world.camera("door", ([BAD] * 80 + [PICTURE] * 10) * 3), "door")
    with pipeline:
        assert pipeline.wait(30)
    assert pipeline.stats()["streams"]["door"]["dropped"] == {"error": 240}
