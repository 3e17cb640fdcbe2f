"""Fixtures that the tests of streams share."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams import pipeline as pipeline_module
from fgd_yolo.streams.reader import Reader
from fgd_yolo.streams.sinks import SinkQueue
from onnx_files import save_detector
from stream_bench import ReaderBench
from stream_parts import DirectQueue, make_stream
from stream_results import Recorder
from stream_world import World


@pytest.fixture(params=["latency", "throughput"])
def world(request, tmp_path, monkeypatch):
    detector = OnnxDetector(save_detector(tmp_path / "detector.onnx"), "cpu", 2, mode=request.param)
    world = World(detector)
    # These cameras may be faster than any thread.
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=10_000))
    monkeypatch.setattr(pipeline_module, "Reader", partial(Reader, open_source=world.open, backoff=(0.005, 0.02)))
    yield world
    world.hangs.set()


@pytest.fixture
def hang():
    """An event on which a scripted source hangs; it is set at the end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def bench():
    """Create running `ReaderBench` objects, and stop them at the end."""
    made = []

    def make(*scripts, **options):
        made.append(ReaderBench(*scripts, **options))
        made[-1].reader.start()
        return made[-1]

    yield make
    for one in made:
        one.buffer.close("stopped")
        one.reader.stop()
        assert one.reader.join(5)


@pytest.fixture
def sink():
    """A scripted sink, which is unblocked at the end."""
    recorder = Recorder()
    yield recorder
    recorder.proceed.set()


@pytest.fixture
def stream():
    """A stream with one queue that needs no thread."""
    stream = make_stream()
    stream.queues = [DirectQueue()]
    return stream
