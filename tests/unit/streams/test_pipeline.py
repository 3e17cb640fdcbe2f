"""Frames through a pipeline: a real detector, readers and queues, on scripted cameras."""

from __future__ import annotations

import random
import threading
import time

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.pipeline import Pipeline
from stream_parts import KeepingSink
from stream_world import BAD, HANG, LOST, PICTURE, balanced, forever, until


def test_every_frame_of_a_file_is_delivered_in_order(world):
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    names = [pipeline.add(world.camera(f"cam{number}", [PICTURE] * 60)) for number in range(3)]
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == {name: list(range(60)) for name in names}
    found = balanced(pipeline.stats())
    for stream in found["streams"].values():
        assert (stream["seen"], stream["inferred"], stream["delivered"], stream["in_flight"]) == (60, 60, 60, 0)
        assert stream["ages"]["sink_done"]["count"] == 60
    assert sink.closed and found["sinks"][0]["written"] == 180


def test_results_of_a_stream_are_in_order_although_workers_overtake_each_other(world):
    draw, infer = random.Random(0), world.detector.infer
    world.detector.infer = lambda batch: time.sleep(draw.random() * 0.004) or infer(batch)
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("door", [PICTURE] * 200), "door")
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == {"door": list(range(200))}


def test_each_of_eight_streams_under_overload_gets_its_fair_share(world):
    world.slow_down(0.004)
    pipeline = Pipeline(world.detector, policy="latest")
    for number in range(8):  # some come much faster than others
        pipeline.add(world.camera(f"cam{number}", forever(), 0.002 * (1 + number % 3)))
    with pipeline:
        until(lambda: sum(one["inferred"] for one in pipeline.stats()["streams"].values()) > 250)
    found = [one["inferred"] for one in balanced(pipeline.stats())["streams"].values()]
    assert min(found) >= 0.8 * sum(found) / 8


def test_a_camera_that_is_gone_or_hangs_slows_no_other(world):
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("hangs", [PICTURE, HANG]), "hangs")
    pipeline.add(world.camera("loose", [PICTURE, LOST] * 1000), "loose")
    pipeline.add(world.camera("fine", [PICTURE] * 100), "fine")
    with pipeline:
        until(lambda: len(sink.indices().get("fine", ())) == 100)
        until(lambda: ("loose", "unplugged") in sink.events)
        assert not pipeline.wait(0)
        start = time.monotonic()
        pipeline.stop(5)
    assert time.monotonic() - start < 5
    balanced(pipeline.stats())


def test_every_frame_is_accounted_for_whatever_happens(world):
    """Streams of all kinds are added, removed, fail and end at random, while another thread reads the statistics."""
    draw = random.Random(7)
    world.slow_down(0.0005)
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink], batch_window_s=draw.choice([0, 0.002]))
    with pipeline:
        for step in range(60):
            running = list(pipeline.stats()["streams"])
            if len(running) > 6 or (running and draw.random() < 0.4):
                pipeline.remove(draw.choice(running))
            script = draw.choices([PICTURE, BAD, LOST], [30, 2, 1], k=draw.randrange(1, 300))
            address = world.camera(f"cam{step}", script, draw.choice([0, 0.0005]))
            policy = draw.choice(["latest", "every", "max-age=1", "max-age=100"])
            pipeline.add(address, f"cam{step}", policy=policy)
            for _ in range(5):
                balanced(pipeline.stats())
                time.sleep(0.001)
        pipeline.stop(10)
    found = balanced(pipeline.stats())
    everything = [*found["streams"].values(), *found["removed"]]
    assert all(one["in_flight"] == 0 and one["delivered"] == one["inferred"] for one in everything)
    assert sum(one["inferred"] for one in everything) > 100
    for indices in sink.indices().values():
        assert indices == sorted(set(indices))


def test_stop_delivers_what_is_finished_and_counts_the_rest(world):
    hangs, infer, first = threading.Event(), world.detector.infer, [True]

    def hang_once(batch):
        if first:
            first.clear()
            hangs.wait(30)
        return infer(batch)

    world.detector.infer = hang_once
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("door", [PICTURE] * 50), "door")
    with pipeline:
        until(lambda: pipeline.stats()["streams"]["door"]["seen"] > 5)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    found = balanced(pipeline.stats())["streams"]["door"]
    assert found["in_flight"] == 0 and found["dropped"]["stopped"] == found["seen"] - found["inferred"]
    assert len(sink.indices().get("door", [])) == found["delivered"] == found["inferred"]
    hangs.set()
    time.sleep(0.1)
    assert balanced(pipeline.stats())["streams"]["door"]["inferred"] == found["inferred"]


def test_stopping_wakes_a_thread_that_waits(world):
    pipeline = Pipeline(world.detector)
    pipeline.add(world.camera("door", forever(), 0.01))
    waited = []
    with pipeline:
        thread = threading.Thread(target=lambda: waited.append(pipeline.wait()), daemon=True)
        thread.start()
        until(lambda: pipeline.stats()["streams"]["127.0.0.1-9"]["inferred"] > 0)
    thread.join(10)
    assert waited == [False]


def test_a_pipeline_that_never_ran_closes_its_sinks_too(world):
    sink = KeepingSink()
    pipeline = Pipeline(world.detector, [sink])
    pipeline.add(world.camera("door", []))
    pipeline.stop()
    assert sink.closed


def test_the_numbers_show_scheme_host_and_port_of_an_address(world):
    pipeline = Pipeline(world.detector, [KeepingSink()])
    name = pipeline.add("rtsp://admin:hunter2@10.0.0.7:554/hunter2?ticket=hunter2")
    assert (name, pipeline.stats()["streams"][name]["address"]) == ("10.0.0.7-554", "rtsp://10.0.0.7:554")
    assert pipeline.add("rtsp://10.0.0.7:554/other") == "10.0.0.7-554-2"


def test_a_name_that_holds_an_address_is_refused(world):
    pipeline = Pipeline(world.detector, [KeepingSink()])
    with pytest.raises(UsageError, match="must hold no address") as caught:
        pipeline.add("rtsp://10.0.0.7/cam", "rtsp://admin:hunter2@10.0.0.7")
    assert "hunter2" not in str(caught.value)
