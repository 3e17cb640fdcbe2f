"""The pipeline with real readers, a real detector and real queues, on cameras that do what a test wants."""

import random
import threading
import time
from functools import partial

import numpy as np
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams import pipeline as pipeline_module
from fgd_yolo.streams.failures import LIMIT
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.sources import Picture, SourceEnded, SourceLost
from onnx_files import save_detector
from stream_parts import Keeping, Stuck

BAD, LOST, HANG = object(), object(), object()
PICTURE = np.full((16, 16, 3), 90, np.uint8)


class Camera:
    """A camera that gives what it is told to, one thing every `period_s`, and then ends."""

    live, fps = True, None

    def __init__(self, script, period_s, hangs):
        self._script, self._period_s, self._hangs = iter(script), period_s, hangs

    def read(self):
        if self._period_s:
            time.sleep(self._period_s)
        what = next(self._script, None)
        if what is HANG:
            self._hangs.wait(60)
        if what is None or what is HANG:
            raise SourceEnded
        if what is LOST:
            raise SourceLost("somebody pulled the plug")
        now = time.monotonic()
        return Picture(np.zeros((4, 4, 3), np.int64) if what is BAD else PICTURE, now, now, None)

    def close(self):
        pass


class World:
    """Cameras by address, and the detector that the pipelines of a test share."""

    def __init__(self, detector):
        self.detector, self.hangs, self._cameras = detector, threading.Event(), {}

    def camera(self, name, script, period_s=0.0):
        """Set a camera up, and return its address; what it does goes on over reconnects."""
        address = f"rtsp://127.0.0.1:9/{name}"
        self._cameras[address] = Camera(script, period_s, self.hangs)
        return address

    def open(self, address, timeout_s):
        return self._cameras[address]

    def slow_down(self, seconds):
        """Let each run of the network take so long."""
        infer = self.detector.infer
        self.detector.infer = lambda batch: time.sleep(seconds) or infer(batch)


def forever():
    while True:
        yield PICTURE


@pytest.fixture(params=["latency", "throughput"])
def world(request, tmp_path, monkeypatch):
    detector = OnnxDetector(save_detector(tmp_path / "detector.onnx"), "cpu", 2, mode=request.param)
    world = World(detector)
    # These cameras are faster than any thread can be relied on to be.
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=10_000))
    monkeypatch.setattr(pipeline_module, "Reader", partial(Reader, open_it=world.open, backoff=(0.005, 0.02)))
    yield world
    world.hangs.set()


def balanced(found):
    """Assert that every frame of every stream is accounted for."""
    for stream in (*found["streams"].values(), *found["removed"]):
        assert stream["seen"] == stream["inferred"] + sum(stream["dropped"].values()) + stream["in_flight"]
        assert 0 <= stream["in_flight"] <= 2 * 3 + 5
        assert stream["delivered"] <= stream["inferred"]
        assert stream["ages"]["infer_end"]["count"] == stream["inferred"]
    return found


def until(condition, timeout_s=20.0):
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def test_every_frame_of_a_file_is_delivered_in_order(world):
    sink = Keeping()
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


def test_results_of_a_stream_are_in_order_although_lanes_overtake_each_other(world):
    draw, infer = random.Random(0), world.detector.infer
    world.detector.infer = lambda batch: time.sleep(draw.random() * 0.004) or infer(batch)
    sink = Keeping()
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
    sink = Keeping()
    pipeline = Pipeline(world.detector, [sink], policy="every")
    pipeline.add(world.camera("hangs", [PICTURE, HANG]), "hangs")
    pipeline.add(world.camera("loose", [PICTURE, LOST] * 1000), "loose")
    pipeline.add(world.camera("fine", [PICTURE] * 100), "fine")
    with pipeline:
        until(lambda: len(sink.indices().get("fine", ())) == 100)
        until(lambda: ("loose", "somebody pulled the plug") in sink.events)
        assert not pipeline.wait(0)
        start = time.monotonic()
        pipeline.stop(5)
    assert time.monotonic() - start < 5
    balanced(pipeline.stats())


def test_a_sink_that_blocks_holds_up_neither_the_lanes_nor_the_other_sink_nor_the_stop(world):
    stuck, sink = Stuck(), Keeping()
    pipeline = Pipeline(world.detector, [stuck, sink], policy="every")
    pipeline.add(world.camera("door", [PICTURE] * 100), "door")
    with pipeline:
        assert pipeline.wait(30)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    stuck.let_go.set()
    assert len(sink.events) == 101 and sink.closed  # with the end
    found = balanced(pipeline.stats())
    first, second = found["sinks"]
    assert first["written"] == 0 and sum(first["dropped"].values()) == 100
    assert second["written"] == 100
    assert found["streams"]["door"]["delivered"] == 100


def test_a_sink_that_blocks_takes_no_other_ones_time_to_finish(world):
    class Slow(Keeping):
        def write(self, result):
            time.sleep(0.05)
            super().write(result)

    stuck, slow = Stuck(), Slow()
    pipeline = Pipeline(world.detector, [stuck, slow], policy="every")
    pipeline.add(world.camera("door", [PICTURE] * 10), "door")
    with pipeline:
        assert pipeline.wait(30)
        pipeline.stop(4)
    stuck.let_go.set()
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
        # The first observer stands for the sinks where there are none.
        until(lambda: pipeline.stats()["streams"]["door"]["ages"]["sink_done"]["count"] == 30)
        start = time.monotonic()
        pipeline.stop(1)
        assert time.monotonic() - start < 2
    let_go.set()
    assert seen == list(range(30))


def test_a_frame_that_the_detector_fails_on_is_an_error_and_the_next_one_is_fine(world, capsys):
    sink = Keeping()
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
    pipeline.add(world.camera("door", [BAD] * 3 * LIMIT), "door")
    pipeline.add(world.camera("yard", forever(), 60), "yard")  # silent all the time
    with pipeline:
        with pytest.raises(FGDError, match="failed on 100 frames in a row"):
            pipeline.wait(30)
        with pytest.raises(FGDError, match="stopped"):
            pipeline.add(world.camera("late", [PICTURE]))
    found = balanced(pipeline.stats())
    assert "failed on 100 frames" in found["failure"]
    assert LIMIT <= found["streams"]["door"]["dropped"]["error"] < LIMIT + 10


def test_errors_that_are_not_in_a_row_stop_nothing(world):
    pipeline = Pipeline(world.detector, policy="every")
    pipeline.add(world.camera("door", ([BAD] * 80 + [PICTURE] * 10) * 3), "door")
    with pipeline:
        assert pipeline.wait(30)
    assert pipeline.stats()["streams"]["door"]["dropped"] == {"error": 240}


def test_stop_delivers_what_is_finished_and_counts_the_rest(world):
    hangs, infer, first = threading.Event(), world.detector.infer, [True]

    def hang_once(batch):
        if first:
            first.clear()
            hangs.wait(30)
        return infer(batch)

    world.detector.infer = hang_once
    sink = Keeping()
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


def test_streams_come_and_go_while_it_runs(world):
    sink = Keeping()
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


def test_every_frame_is_accounted_for_whatever_happens(world):
    """Streams of all kinds come, go, fail and end by chance, while somebody looks all the time."""
    draw = random.Random(7)
    world.slow_down(0.0005)
    sink = Keeping()
    pipeline = Pipeline(world.detector, [sink], batch_window_s=draw.choice([0, 0.002]))
    with pipeline:
        for step in range(60):
            running = list(pipeline.stats()["streams"])
            if len(running) > 6 or (running and draw.random() < 0.4):
                pipeline.remove(draw.choice(running))
            script = draw.choices([PICTURE, BAD, LOST], [30, 2, 1], k=draw.randrange(1, 300))
            address = world.camera(f"cam{step}", script, draw.choice([0, 0.0005]))
            pipeline.add(address, policy=draw.choice(["latest", "every", "max-age=1", "max-age=100"]))
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


def test_threads_and_readers_end_with_the_pipeline(world):
    before = threading.active_count()
    with Pipeline(world.detector, [Keeping()]) as pipeline:
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
    with pytest.raises(UsageError, match="two streams are called"):
        pipeline.add(address, first)
    for name in ("", " ", "a\nb"):
        with pytest.raises(UsageError, match="cannot be called"):
            pipeline.add(address, name)
    with pytest.raises(UsageError, match="no stream 'roof'"):
        pipeline.remove("roof")
    pipeline.remove(first)
    assert list(pipeline.stats()["streams"]) == [second]


def test_what_can_never_work_is_refused_before_anything_starts(world, tmp_path):
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
    with pytest.raises(FGDError, match="runs once"):
        pipeline.start()
    pipeline.stop()
    pipeline.stop()
    with pytest.raises(FGDError, match="stopped"):
        pipeline.add(world.camera("door", []))
    assert pipeline.wait() is False


def test_stopping_wakes_who_waits(world):
    pipeline = Pipeline(world.detector)
    pipeline.add(world.camera("door", forever(), 0.01))
    waited = []
    with pipeline:
        thread = threading.Thread(target=lambda: waited.append(pipeline.wait()), daemon=True)
        thread.start()
        until(lambda: pipeline.stats()["streams"]["127.0.0.1-9-door"]["inferred"] > 0)
    thread.join(10)
    assert waited == [False]


def test_a_pipeline_that_never_ran_closes_its_sinks_too(world):
    sink = Keeping()
    pipeline = Pipeline(world.detector, [sink])
    pipeline.add(world.camera("door", []))
    pipeline.stop()
    assert sink.closed
