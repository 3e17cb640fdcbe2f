"""Adding, naming, refusing and removing the streams of a pipeline."""

from __future__ import annotations

import threading

import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.reader import Reader
from stream_parts import BlockingSink, KeepingSink
from stream_world import HANG, PICTURE, balanced, forever, until


def test_streams_come_and_go_while_it_runs(world):
    sink = KeepingSink()
    with Pipeline(world.detector, [sink], policy="every") as pipeline:
        assert not pipeline.wait(0)
        assert pipeline.add(world.camera("door", forever(), 0.001), "door") == "door"
        until(lambda: len(sink.events) > 5)
        pipeline.add(world.camera("yard", [PICTURE] * 20), "yard")
        until(lambda: len(sink.indices().get("yard", ())) == 20)
        assert not pipeline.wait(0)
        pipeline.remove("door")
        assert pipeline.wait(10)
        until(lambda: ("door", "removed") in sink.events)
        pipeline.add(world.camera("door2", [PICTURE] * 3), "door")
        assert pipeline.wait(10)
        found = balanced(pipeline.stats())
    assert list(found["streams"]) == ["yard", "door"]
    assert [one["name"] for one in found["removed"]] == ["door"]
    after = sink.events.index(("door", "removed"))
    assert [what for name, what in sink.events[after + 1 :] if name == "door"][:3] == [0, 1, 2]


def test_what_a_sink_takes_late_counts_for_the_removed_stream_and_not_for_its_successor(world):
    blocked = BlockingSink()
    with Pipeline(world.detector, [blocked], policy="every") as pipeline:
        pipeline.add(world.camera("door", [PICTURE] * 3), "door")
        assert pipeline.wait(10) and blocked.began.wait(10)
        pipeline.remove("door")
        pipeline.add(world.camera("door2", [HANG]), "door")
        blocked.let_go.set()
        until(lambda: pipeline.stats()["sinks"][0]["written"] == 3)
        assert pipeline.stats()["streams"]["door"]["ages"]["sink_done"]["count"] == 0
        until(lambda: pipeline.stats()["removed"][0]["ages"]["sink_done"]["count"] == 3)


def test_threads_and_readers_end_with_the_pipeline(world):
    before = threading.active_count()
    with Pipeline(world.detector, [KeepingSink()]) as pipeline:
        for number in range(40):
            name = pipeline.add(world.camera(f"cam{number}", forever(), 0.001))
            pipeline.remove(name)
        assert pipeline.wait(0) is False
    until(lambda: threading.active_count() <= before)
    assert len(pipeline.stats()["removed"]) == 32


def test_streams_are_named_after_their_source_and_numbered(world):
    pipeline = Pipeline(world.detector)
    address = world.camera("door", [])
    first, second = pipeline.add(address), pipeline.add(address)
    assert second == f"{first}-2"
    with pytest.raises(UsageError, match="exists already"):
        pipeline.add(address, first)
    for name in ("", " ", "a\nb"):
        with pytest.raises(UsageError, match="cannot be printed"):
            pipeline.add(address, name)
    with pytest.raises(UsageError, match="no stream 'roof'"):
        pipeline.remove("roof")
    pipeline.remove(first)
    assert list(pipeline.stats()["streams"]) == [second]


def test_an_invalid_stream_is_refused_before_anything_starts(world, tmp_path):
    with pytest.raises(UsageError, match="policy 'newest'"):
        Pipeline(world.detector, policy="newest")
    for window_s in (-1, 11, float("nan")):
        with pytest.raises(UsageError, match="batch window"):
            Pipeline(world.detector, batch_window_s=window_s)
    pipeline = Pipeline(world.detector)
    with pytest.raises(UsageError):
        pipeline.add(str(tmp_path / "nothing.mp4"))
    with pytest.raises(UsageError, match="policy 'newest'"):
        pipeline.add(world.camera("door", []), policy="newest")
    assert pipeline.stats()["streams"] == {}


def test_live_sources_take_latest_unless_told_otherwise(world):
    pipeline = Pipeline(world.detector)
    address = world.camera("door", [])
    pipeline.add(address, "a")
    pipeline.add(address, "b", policy="max-age=300")
    assert [one["policy"] for one in pipeline.stats()["streams"].values()] == ["latest", "max-age=300"]
    pipeline = Pipeline(world.detector, policy="every")
    pipeline.add(address, "a")
    assert pipeline.stats()["streams"]["a"]["policy"] == "every"


def test_a_pipeline_runs_once(world):
    pipeline = Pipeline(world.detector)
    pipeline.start()
    with pytest.raises(FGDError, match="runs only once"):
        pipeline.start()
    pipeline.stop()
    pipeline.stop()
    with pytest.raises(FGDError, match="stopped"):
        pipeline.add(world.camera("door", []))
    assert pipeline.wait() is False


def test_nothing_of_a_stream_is_delivered_after_its_removal(world, monkeypatch):
    stop, stops, sink = Reader.stop, [], KeepingSink()
    monkeypatch.setattr(Reader, "stop", lambda reader: stops.append(lambda: stop(reader)))
    with Pipeline(world.detector, [sink], policy="every") as pipeline:
        pipeline.add(world.camera("door", forever(), 0.001), "door")
        until(lambda: len(sink.events) > 3)
        pipeline.remove("door")
        until(lambda: ("door", "removed") in sink.events)
        seen = pipeline.stats()["removed"][0]["seen"]
        until(lambda: pipeline.stats()["removed"][0]["seen"] > seen)  # its reader continues, and then reports its end
        stops.pop()()
        until(lambda: not any(thread.name == "watch door" for thread in threading.enumerate()))
    assert [what for _, what in sink.events if not isinstance(what, int)] == ["removed"]
    assert sink.events[-1] == ("door", "removed")
    balanced(pipeline.stats())


def test_a_new_stream_begins_when_what_is_left_of_the_old_one_of_its_name_is_through(world):
    infer, running, let_go = world.detector.infer, threading.Event(), threading.Event()
    world.detector.infer = lambda batch: running.set() or (let_go.wait(30) and infer(batch))
    sink = KeepingSink()
    with Pipeline(world.detector, [sink], policy="every") as pipeline:
        pipeline.add(world.camera("old", [PICTURE, HANG]), "door")
        assert running.wait(10)
        for new in ("between", "last"):
            pipeline.remove("door")
            pipeline.add(world.camera(new, [PICTURE] * 3), "door")
            until(lambda: pipeline.stats()["streams"]["door"]["seen"] == 3)
        assert sink.events == []
        let_go.set()
        assert pipeline.wait(20)
    assert [what for _, what in sink.events] == [0, "removed", 0, 1, 2, "ended"]
    balanced(pipeline.stats())
