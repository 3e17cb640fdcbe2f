"""What sinks and observers may do to a pipeline."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest

from fgd_yolo.streams import pipeline as pipeline_module
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.sinks import SinkQueue
from stream_parts import BlockingSink, KeepingSink
from stream_world import PICTURE, balanced, forever, until


def test_a_sink_that_blocks_holds_up_neither_the_workers_nor_the_other_sink_nor_the_stop(world):
    blocked, sink = BlockingSink(), KeepingSink()
    pipeline = Pipeline(world.detector, [blocked, sink], policy="every")
    pipeline.add(world.camera("door", [PICTURE] * 100), "door")
    with pipeline:
        assert pipeline.wait(30)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    blocked.let_go.set()
    assert len(sink.events) == 101 and sink.closed  # with the end
    found = balanced(pipeline.stats())
    first, second = found["sinks"]
    assert first["written"] == 0 and sum(first["dropped"].values()) == 100
    assert second["written"] == 100
    assert found["streams"]["door"]["delivered"] == 100


def test_a_sink_that_blocks_takes_no_other_ones_time_to_finish(world):
    class Slow(KeepingSink):
        def write(self, result):
            time.sleep(0.05)
            super().write(result)

    blocked, slow = BlockingSink(), Slow()
    pipeline = Pipeline(world.detector, [blocked, slow], policy="every")
    pipeline.add(world.camera("door", [PICTURE] * 10), "door")
    with pipeline:
        assert pipeline.wait(30)
        pipeline.stop(4)
    blocked.let_go.set()
    assert slow.indices() == {"door": list(range(10))} and slow.closed


def test_observers_see_every_result_and_can_neither_break_nor_block_the_pipeline(world):
    seen, let_go = [], threading.Event()

    def breaks(result):
        raise RuntimeError("no")

    def blocks(result):
        let_go.wait(30)

    observers = [lambda result: seen.append(result.frame.index), breaks, blocks]
    pipeline = Pipeline(world.detector, policy="every", observers=observers)
    pipeline.add(world.camera("door", [PICTURE] * 30), "door")
    with pipeline:
        assert pipeline.wait(30)
        # Without sinks the first observer counts as one.
        until(lambda: pipeline.stats()["streams"]["door"]["ages"]["sink_done"]["count"] == 30)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    let_go.set()
    assert seen == list(range(30))


class Slow(KeepingSink):
    """A sink that takes a given time, or blocks for ever if that is None."""

    name = "slow"

    def __init__(self, period_s):
        super().__init__()
        self.period_s, self.let_go = period_s, threading.Event()

    def write(self, result):
        self.let_go.wait(self.period_s)
        super().write(result)


@pytest.mark.parametrize("period_s", [0.5, 60], ids=["slow", "blocked"])
def test_files_that_wait_for_a_sink_keep_no_worker_from_a_camera(world, monkeypatch, period_s):
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=8))
    sink, times = Slow(period_s), []

    def note(result):
        if result.frame.stream == "live":
            times.append(time.monotonic())

    pipeline = Pipeline(world.detector, [sink], steps=[note])
    for name in ("first", "second"):
        pipeline.add(world.camera(name, [PICTURE] * 2000), name, policy="every")
    pipeline.add(world.camera("live", forever(), 0.01), "live")
    with pipeline:
        until(lambda: balanced(pipeline.stats())["streams"]["live"]["inferred"] >= 150)
        live = pipeline.stats()["streams"]["live"]
        sink.let_go.set()
        pipeline.stop(1)
    assert live["ages"]["infer_end"]["max_ms"] < 300
    assert max(np.diff(times)) < 0.3  # workers would wait for the sink, up to a second
    balanced(pipeline.stats())


def test_a_merely_slow_sink_gets_every_frame_of_files_in_order(world, monkeypatch):
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=4))
    sink, other = Slow(0.004), KeepingSink()
    pipeline = Pipeline(world.detector, [sink, other], policy="every")
    for name in ("first", "second"):
        pipeline.add(world.camera(name, [PICTURE] * 80), name)
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == other.indices() == {"first": list(range(80)), "second": list(range(80))}
    for one in balanced(pipeline.stats())["streams"].values():
        assert one["delivered"] == 80


def test_stopping_delivers_what_waits_for_a_slow_sink(world, monkeypatch):
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=4))
    sink = Slow(0.05)
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("film", [PICTURE] * 500), "film")
    with pipeline:
        until(lambda: pipeline.stats()["streams"]["film"]["inferred"] >= 6)
        pipeline.stop(10)
    found = balanced(pipeline.stats())
    assert found["sinks"][0]["dropped"] == {}
    assert len(sink.indices()["film"]) == found["streams"]["film"]["delivered"] == found["streams"]["film"]["inferred"]
