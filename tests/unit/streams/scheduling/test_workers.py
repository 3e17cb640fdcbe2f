import threading
import time
from dataclasses import replace

import pytest

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams.scheduling.policy import parse_policy
from fgd_yolo.streams.scheduling.workers import Lanes
from fgd_yolo.streams.stream import Stream
from onnx_files import save_detector
from stream_parts import make_frame


def no_failure(error):
    raise AssertionError(error)


@pytest.fixture
def detector(tmp_path):
    return lambda mode: OnnxDetector(save_detector(tmp_path / "detector.onnx"), "cpu", 2, mode=mode)


@pytest.mark.parametrize(("mode", "at_once"), [("latency", 1), ("throughput", 2)])
def test_frames_are_prepared_while_others_are_inferred(detector, mode, at_once):
    detector, let_go = detector(mode), threading.Event()
    prepared, inferred = threading.Semaphore(0), threading.Semaphore(0)
    preprocess, infer = detector.preprocess, detector.infer
    detector.preprocess = lambda *inputs: prepared.release() or preprocess(*inputs)
    detector.infer = lambda batch: inferred.release() or (let_go.wait(30) and infer(batch))
    lanes = Lanes(detector, 0, no_failure)
    stream = Stream("film", 0, parse_policy("every"), 9, lanes.turns.lock, lanes.turns.wake, lambda: None)
    lanes.turns.streams["film"] = stream
    lanes.start()
    for index in range(4):
        stream.mailbox.put(make_frame(index))
    for _ in range(2):
        assert prepared.acquire(timeout=10)
    for _ in range(at_once):
        assert inferred.acquire(timeout=10)
    assert not inferred.acquire(timeout=0.1) and not prepared.acquire(timeout=0)
    let_go.set()
    for _ in range(2):
        assert prepared.acquire(timeout=10)
    lanes.stop()
    lanes.join(time.monotonic() + 10)


def test_joining_leaves_a_stuck_lane_behind(detector):
    detector, let_go = detector("latency"), threading.Event()
    detector.infer = lambda batch: let_go.wait(30)
    lanes = Lanes(detector, 0, no_failure)
    stream = Stream("film", 0, parse_policy("every"), 9, lanes.turns.lock, lanes.turns.wake, lambda: None)
    lanes.turns.streams["film"] = stream
    lanes.start()
    stream.mailbox.put(make_frame())
    lanes.stop()
    start = time.monotonic()
    lanes.join(start + 0.1)
    assert time.monotonic() - start < 5
    let_go.set()


@pytest.mark.parametrize(
    ("batch", "mode", "device", "window_s", "together"),
    [
        (1, "latency", "cpu", 0, 1),
        (1, "latency", "cpu", 0.01, 1),
        (4, "latency", "cpu", 0, 4),
        (None, "latency", "cpu", 0, 1),
        (None, "latency", "cpu", 0.01, 8),
        (None, "latency", "cuda:0 (onnxruntime)", 0, 8),
        (None, "latency", "tensorrt:0 (onnxruntime)", 0, 8),
        (None, "throughput", "cpu", 0.01, 1),
    ],
)
def test_frames_go_together_where_that_is_of_use(detector, batch, mode, device, window_s, together):
    detector = detector(mode)
    detector.info = replace(detector.info, batch=batch)
    detector.together = detector._count_together()
    detector.device = device
    lanes = Lanes(detector, window_s, no_failure)
    assert lanes._batch == together
    assert lanes.frames_per_stream == 2 * 2 * together
