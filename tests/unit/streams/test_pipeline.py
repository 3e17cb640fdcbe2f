"""Frames through a pipeline with a real detector and scripted cameras: streams, sinks, observers and failures."""

from __future__ import annotations

import random
import threading
import time
from functools import partial

import cv2
import numpy as np
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams import pipeline as pipeline_module
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.scheduling.workers import MAX_FAILURES
from fgd_yolo.streams.sinks import SinkQueue
from onnx_files import save_detector
from stream_parts import BlockingSink, RecordingSink
from stream_world import BAD, HANG, IMAGE, LOST, balanced, forever, until


def test_every_frame_of_a_file_is_delivered_in_order(world):
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    names = [pipeline.add(world.camera(f"cam{number}", [IMAGE] * 60)) for number in range(3)]
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == {name: list(range(60)) for name in names}
    stats = balanced(pipeline.stats())
    for stream in stats["streams"].values():
        assert (stream["seen"], stream["inferred"], stream["delivered"], stream["in_flight"]) == (60, 60, 60, 0)
        assert stream["ages"]["sink_done"]["count"] == 60
    assert sink.closed and stats["sinks"][0]["written"] == 180


def test_results_of_a_stream_are_in_order_although_workers_overtake_each_other(world):
    draw, infer = random.Random(0), world.detector.infer
    world.detector.infer = lambda batch: time.sleep(draw.random() * 0.004) or infer(batch)
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("door", [IMAGE] * 200), "door")
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
    inferred = [one["inferred"] for one in balanced(pipeline.stats())["streams"].values()]
    assert min(inferred) >= 0.8 * sum(inferred) / 8


def test_a_camera_that_is_gone_or_hangs_slows_no_other(world):
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("hangs", [IMAGE, HANG]), "hangs")
    pipeline.add(world.camera("loose", [IMAGE, LOST] * 1000), "loose")
    pipeline.add(world.camera("fine", [IMAGE] * 100), "fine")
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
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink], batch_window_s=draw.choice([0, 0.002]))
    with pipeline:
        for step in range(60):
            running = list(pipeline.stats()["streams"])
            if len(running) > 6 or (running and draw.random() < 0.4):
                pipeline.remove(draw.choice(running))
            script = draw.choices([IMAGE, BAD, LOST], [30, 2, 1], k=draw.randrange(1, 300))
            address = world.camera(f"cam{step}", script, draw.choice([0, 0.0005]))
            policy = draw.choice(["latest", "every", "max-age=1", "max-age=100"])
            pipeline.add(address, f"cam{step}", policy=policy)
            for _ in range(5):
                balanced(pipeline.stats())
                time.sleep(0.001)
        pipeline.stop(10)
    stats = balanced(pipeline.stats())
    everything = [*stats["streams"].values(), *stats["removed"]]
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
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("door", [IMAGE] * 50), "door")
    with pipeline:
        until(lambda: pipeline.stats()["streams"]["door"]["seen"] > 5)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    door = balanced(pipeline.stats())["streams"]["door"]
    assert door["in_flight"] == 0 and door["dropped"]["stopped"] == door["seen"] - door["inferred"]
    assert len(sink.indices().get("door", [])) == door["delivered"] == door["inferred"]
    hangs.set()
    time.sleep(0.1)
    assert balanced(pipeline.stats())["streams"]["door"]["inferred"] == door["inferred"]


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
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink])
    pipeline.add(world.camera("door", []))
    pipeline.stop()
    assert sink.closed


def test_the_statistics_show_only_scheme_host_and_port_of_an_address(world):
    pipeline = Pipeline(world.detector, [RecordingSink()])
    name = pipeline.add("rtsp://admin:hunter2@10.0.0.7:554/hunter2?ticket=hunter2")
    assert (name, pipeline.stats()["streams"][name]["address"]) == ("10.0.0.7-554", "rtsp://10.0.0.7:554")
    assert pipeline.add("rtsp://10.0.0.7:554/other") == "10.0.0.7-554-2"


def test_a_name_that_holds_an_address_is_refused(world):
    pipeline = Pipeline(world.detector, [RecordingSink()])
    with pytest.raises(UsageError, match="must hold no address") as caught:
        pipeline.add("rtsp://10.0.0.7/cam", "rtsp://admin:hunter2@10.0.0.7")
    assert "hunter2" not in str(caught.value)


def test_a_frame_that_the_detector_fails_on_is_an_error_and_the_next_one_is_fine(world, capsys):
    sink = RecordingSink()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("door", [IMAGE, BAD] * 20), "door")
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == {"door": list(range(0, 40, 2))}
    door = balanced(pipeline.stats())["streams"]["door"]
    assert (door["inferred"], door["dropped"]) == (20, {"error": 20})
    assert capsys.readouterr().err.count("a frame is dropped") == 1


def test_a_detector_that_always_fails_stops_the_pipeline(world):
    pipeline = Pipeline(world.detector, policy="every")
    pipeline.add(world.camera("door", [BAD] * 3 * MAX_FAILURES), "door")
    pipeline.add(world.camera("yard", forever(), 60), "yard")  # always silent
    with pipeline:
        with pytest.raises(FGDError, match="failed on 100 frames in a row"):
            pipeline.wait(30)
        with pytest.raises(FGDError, match="stopped"):
            pipeline.add(world.camera("late", [IMAGE]))
    stats = balanced(pipeline.stats())
    assert "failed on 100 frames" in stats["failure"]
    assert MAX_FAILURES <= stats["streams"]["door"]["dropped"]["error"] < MAX_FAILURES + 10


def test_errors_that_are_not_in_a_row_stop_nothing(world):
    pipeline = Pipeline(world.detector, policy="every")
    pipeline.add(world.camera("door", ([BAD] * 80 + [IMAGE] * 10) * 3), "door")
    with pipeline:
        assert pipeline.wait(30)
    assert pipeline.stats()["streams"]["door"]["dropped"] == {"error": 240}


def test_a_sink_that_blocks_holds_up_neither_the_workers_nor_the_other_sink_nor_the_stop(world):
    blocked, sink = BlockingSink(), RecordingSink()
    pipeline = Pipeline(world.detector, [blocked, sink], policy="every")
    pipeline.add(world.camera("door", [IMAGE] * 100), "door")
    with pipeline:
        assert pipeline.wait(30)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    blocked.proceed.set()
    assert len(sink.events) == 101 and sink.closed  # at the end
    stats = balanced(pipeline.stats())
    first, second = stats["sinks"]
    assert first["written"] == 0 and sum(first["dropped"].values()) == 100
    assert second["written"] == 100
    assert stats["streams"]["door"]["delivered"] == 100


def test_a_sink_that_blocks_uses_up_no_other_sinks_time_to_finish(world):
    class Slow(RecordingSink):
        def write(self, result):
            time.sleep(0.05)
            super().write(result)

    blocked, slow = BlockingSink(), Slow()
    pipeline = Pipeline(world.detector, [blocked, slow], policy="every")
    pipeline.add(world.camera("door", [IMAGE] * 10), "door")
    with pipeline:
        assert pipeline.wait(30)
        pipeline.stop(4)
    blocked.proceed.set()
    assert slow.indices() == {"door": list(range(10))} and slow.closed


def test_observers_see_every_result_and_can_neither_break_nor_block_the_pipeline(world):
    seen, proceed = [], threading.Event()

    def breaks(result):
        raise RuntimeError("no")

    def blocks(result):
        proceed.wait(30)

    observers = [lambda result: seen.append(result.frame.index), breaks, blocks]
    pipeline = Pipeline(world.detector, policy="every", observers=observers)
    pipeline.add(world.camera("door", [IMAGE] * 30), "door")
    with pipeline:
        assert pipeline.wait(30)
        # Without sinks the first observer counts as one.
        until(lambda: pipeline.stats()["streams"]["door"]["ages"]["sink_done"]["count"] == 30)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    proceed.set()
    assert seen == list(range(30))


class Slow(RecordingSink):
    """A sink that takes a given time, or blocks forever if that is None."""

    name = "slow"

    def __init__(self, period_s):
        super().__init__()
        self.period_s, self.proceed = period_s, threading.Event()

    def write(self, result):
        self.proceed.wait(self.period_s)
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
        pipeline.add(world.camera(name, [IMAGE] * 2000), name, policy="every")
    pipeline.add(world.camera("live", forever(), 0.01), "live")
    with pipeline:
        until(lambda: balanced(pipeline.stats())["streams"]["live"]["inferred"] >= 150)
        live = pipeline.stats()["streams"]["live"]
        sink.proceed.set()
        pipeline.stop(1)
    assert live["ages"]["infer_end"]["max_ms"] < 300
    assert max(np.diff(times)) < 0.3  # workers would wait for the sink, up to a second
    balanced(pipeline.stats())


def test_a_merely_slow_sink_gets_every_frame_of_files_in_order(world, monkeypatch):
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=4))
    sink, other = Slow(0.004), RecordingSink()
    pipeline = Pipeline(world.detector, [sink, other], policy="every")
    for name in ("first", "second"):
        pipeline.add(world.camera(name, [IMAGE] * 80), name)
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == other.indices() == {"first": list(range(80)), "second": list(range(80))}
    for one in balanced(pipeline.stats())["streams"].values():
        assert one["delivered"] == 80


def test_stopping_delivers_what_waits_for_a_slow_sink(world, monkeypatch):
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=4))
    sink = Slow(0.05)
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("film", [IMAGE] * 500), "film")
    with pipeline:
        until(lambda: pipeline.stats()["streams"]["film"]["inferred"] >= 6)
        pipeline.stop(10)
    stats = balanced(pipeline.stats())
    assert stats["sinks"][0]["dropped"] == {}
    assert len(sink.indices()["film"]) == stats["streams"]["film"]["delivered"] == stats["streams"]["film"]["inferred"]


def test_streams_come_and_go_while_it_runs(world):
    sink = RecordingSink()
    with Pipeline(world.detector, [sink], policy="every") as pipeline:
        assert not pipeline.wait(0)
        assert pipeline.add(world.camera("door", forever(), 0.001), "door") == "door"
        until(lambda: len(sink.events) > 5)
        pipeline.add(world.camera("yard", [IMAGE] * 20), "yard")
        until(lambda: len(sink.indices().get("yard", ())) == 20)
        assert not pipeline.wait(0)
        pipeline.remove("door")
        assert pipeline.wait(10)
        until(lambda: ("door", "removed") in sink.events)
        pipeline.add(world.camera("door2", [IMAGE] * 3), "door")
        assert pipeline.wait(10)
        stats = balanced(pipeline.stats())
    assert list(stats["streams"]) == ["yard", "door"]
    assert [one["name"] for one in stats["removed"]] == ["door"]
    after = sink.events.index(("door", "removed"))
    assert [item for name, item in sink.events[after + 1 :] if name == "door"][:3] == [0, 1, 2]


def test_a_result_written_late_counts_for_the_removed_stream_and_not_for_its_successor(world):
    blocked = BlockingSink()
    with Pipeline(world.detector, [blocked], policy="every") as pipeline:
        pipeline.add(world.camera("door", [IMAGE] * 3), "door")
        assert pipeline.wait(10) and blocked.began.wait(10)
        pipeline.remove("door")
        pipeline.add(world.camera("door2", [HANG]), "door")
        blocked.proceed.set()
        until(lambda: pipeline.stats()["sinks"][0]["written"] == 3)
        assert pipeline.stats()["streams"]["door"]["ages"]["sink_done"]["count"] == 0
        until(lambda: pipeline.stats()["removed"][0]["ages"]["sink_done"]["count"] == 3)


def test_threads_and_readers_end_with_the_pipeline(world):
    before = threading.active_count()
    with Pipeline(world.detector, [RecordingSink()]) as pipeline:
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


def test_live_sources_default_to_latest(world):
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
    stop, stops, sink = Reader.stop, [], RecordingSink()
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
    assert [item for _, item in sink.events if not isinstance(item, int)] == ["removed"]
    assert sink.events[-1] == ("door", "removed")
    balanced(pipeline.stats())


def test_a_new_stream_starts_when_the_old_one_of_its_name_is_drained(world):
    infer, running, proceed = world.detector.infer, threading.Event(), threading.Event()
    world.detector.infer = lambda batch: running.set() or (proceed.wait(30) and infer(batch))
    sink = RecordingSink()
    with Pipeline(world.detector, [sink], policy="every") as pipeline:
        pipeline.add(world.camera("old", [IMAGE, HANG]), "door")
        assert running.wait(10)
        for new in ("between", "last"):
            pipeline.remove("door")
            pipeline.add(world.camera(new, [IMAGE] * 3), "door")
            until(lambda: pipeline.stats()["streams"]["door"]["seen"] == 3)
        assert sink.events == []
        proceed.set()
        assert pipeline.wait(20)
    assert [item for _, item in sink.events] == [0, "removed", 0, 1, 2, "ended"]
    balanced(pipeline.stats())


@pytest.mark.parametrize("channels", [1, 4])
def test_a_folder_of_images_is_read_for_the_channels_of_the_model(channels, tmp_path):
    detector = OnnxDetector(save_detector(tmp_path / "best.onnx", channels=channels), "cpu", 1)
    (tmp_path / "images").mkdir()
    for index in range(3):
        pages = [np.full((64, 64), index + 10 * page, np.uint8) for page in range(channels)]
        assert cv2.imwritemulti(str(tmp_path / "images" / f"{index}.tif"), pages)
    sink, seen = RecordingSink(), []
    pipeline = Pipeline(detector, [sink], observers=[lambda result: seen.append(result.frame.image())])
    name = pipeline.add(str(tmp_path / "images"))
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices() == {name: [0, 1, 2]}
    assert [image[0, 0].tolist() for image in seen] == [
        [index + 10 * page for page in range(channels)] for index in range(3)
    ]


def test_a_camera_is_refused_for_a_model_of_four_channels_and_grey_for_one_of_one(tmp_path):
    grey, four = (
        OnnxDetector(save_detector(tmp_path / f"{channels}.onnx", channels=channels), "cpu", 1) for channels in (1, 4)
    )
    with pytest.raises(UsageError, match="'0' delivers 3 channels, but the model takes 4"):
        Pipeline(four).add(0)
    sink = RecordingSink()
    pipeline = Pipeline(grey, [sink], policy="every")
    name = pipeline.add("test://?size=64x64&fps=50&seconds=0.2")
    with pipeline:
        assert pipeline.wait(30)
    assert sink.indices()[name]
