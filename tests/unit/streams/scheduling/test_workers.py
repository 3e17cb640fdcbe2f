import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams.scheduling.frame_buffer import parse_policy
from fgd_yolo.streams.scheduling.scheduler import RunSlots
from fgd_yolo.streams.scheduling.workers import MAX_FAILURES, DetectorFailures, Worker, WorkerPool
from fgd_yolo.streams.stream import Stream
from onnx_files import save_brightness_detector, save_detector
from stream_parts import make_frame

SIDE = 32


def brightness_file(path, **options):
    """Write a detector of one object whose score is the brightness of the image."""
    metadata = {"names": "{0: 'light'}", "stride": "8", "imgsz": f"[{SIDE}, {SIDE}]", "end2end": "False"}
    return save_brightness_detector(path, [[16, 16, 8, 8]], [1], [0], **{"side": SIDE, **options}, metadata=metadata)


@pytest.fixture
def worker(tmp_path):
    def make(frames=1, **options):
        detector = OnnxDetector(brightness_file(tmp_path / "light.onnx", **options), "cpu", 1, conf=0.01)
        return Worker(detector, RunSlots(1), frames)

    return make


def scores(outcomes):
    return [round(float(outcome.detections.confidence[0]) * 255) for outcome in outcomes]


@pytest.mark.parametrize("uint8", [False, True])
def test_a_frame_gets_its_own_result(worker, uint8):
    worker = worker(uint8=uint8)
    for value in (200, 100, 40):
        frame = make_frame(side=SIDE, value=value)
        (result,) = worker.detect([frame])
        assert result.frame is frame
        assert scores([result]) == [value]
        assert frame.arrived <= result.infer_start <= result.infer_end


@pytest.mark.parametrize("batch", ["frames", 4])
@pytest.mark.parametrize("uint8", [False, True])
def test_frames_that_go_together_do_not_mix(worker, batch, uint8):
    worker = worker(4, batch=batch, uint8=uint8)
    for values in ([10, 20, 30, 40], [50, 60], [70], [80, 90, 100]):
        assert scores(worker.detect([make_frame(side=SIDE, value=value) for value in values])) == values


def test_frames_of_different_sizes_go_together(worker):
    worker = worker(3, batch="frames", side="side")
    frames = [make_frame(side=SIDE, value=value) for value in (50, 60, 70)]
    frames[1].pixels = frames[1].pixels[:, :16]
    assert scores(worker.detect(frames)) == [50, 60, 70]


def test_a_file_of_fixed_size_is_fed_from_one_buffer(worker, monkeypatch):
    worker = worker()
    fed = []
    infer = worker._detector.infer
    monkeypatch.setattr(worker._detector, "infer", lambda batch: fed.append(batch.ctypes.data) or infer(batch))
    for value in (10, 20):
        worker.detect([make_frame(side=SIDE, value=value)])
    assert len(set(fed)) == 1


def test_the_network_runs_on_no_more_frames_than_there_are(worker, monkeypatch):
    worker = worker(4, batch="frames")
    fed = []
    infer = worker._detector.infer
    monkeypatch.setattr(worker._detector, "infer", lambda batch: fed.append(len(batch)) or infer(batch))
    for count in (4, 1, 2):
        worker.detect([make_frame(side=SIDE) for _ in range(count)])
    assert fed == [4, 1, 2]


def test_the_preprocessing_time_is_measured(worker):
    worker = worker()
    assert worker._slots._preprocess_s == 0
    worker.detect([make_frame(side=SIDE)])
    assert worker._slots._preprocess_s > 0


def test_one_bad_frame_does_not_affect_the_others(worker):
    worker = worker(3, batch="frames")
    frames = [make_frame(side=SIDE, value=value) for value in (10, 20, 30)]
    frames[1].pixels = np.zeros((4, 4, 3), np.int64)
    first, bad, last = worker.detect(frames)
    assert isinstance(bad, FGDError)
    assert scores([first, last]) == [10, 30]


@pytest.mark.parametrize("stage", ["infer", "postprocess"])
def test_a_detector_that_raises_fails_its_frames_only(worker, monkeypatch, stage):
    worker = worker(2, batch="frames")
    frames = [make_frame(side=SIDE, value=10) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(worker._detector, stage, lambda *_: 1 / 0)
        assert [type(outcome) for outcome in worker.detect(frames)] == [ZeroDivisionError] * 2
    assert scores(worker.detect(frames)) == [10, 10]


def test_the_time_at_the_start_is_taken_when_the_slot_is_free(worker):
    worker = worker()
    order = []

    class Slot:
        def __enter__(self):
            order.append("slot")

        def __exit__(self, *_):
            order.append("free")

    worker._slots.acquire = Slot
    infer = worker._detector.infer
    worker._detector.infer = lambda batch: order.append("infer") or infer(batch)
    worker.detect([make_frame(side=SIDE)])
    assert order == ["slot", "infer", "free"]


def no_failure(error):
    raise AssertionError(error)


@pytest.fixture
def detector(tmp_path):
    return lambda mode: OnnxDetector(save_detector(tmp_path / "detector.onnx"), "cpu", 2, mode=mode)


@pytest.mark.parametrize(("mode", "at_once"), [("latency", 1), ("throughput", 2)])
def test_frames_are_preprocessed_while_others_are_inferred(detector, mode, at_once):
    detector, proceed = detector(mode), threading.Event()
    prepared, inferred = threading.Semaphore(0), threading.Semaphore(0)
    preprocess, infer = detector.preprocess, detector.infer
    detector.preprocess = lambda *inputs: prepared.release() or preprocess(*inputs)
    detector.infer = lambda batch: inferred.release() or (proceed.wait(30) and infer(batch))
    pool = WorkerPool(detector, 0, no_failure)
    stream = Stream("film", 0, parse_policy("every"), 9, pool.scheduler.lock, pool.scheduler.notify, lambda: None)
    pool.scheduler.streams["film"] = stream
    pool.start()
    for index in range(4):
        stream.frames.put(make_frame(index))
    for _ in range(2):
        assert prepared.acquire(timeout=10)
    for _ in range(at_once):
        assert inferred.acquire(timeout=10)
    assert not inferred.acquire(timeout=0.1) and not prepared.acquire(timeout=0)
    proceed.set()
    for _ in range(2):
        assert prepared.acquire(timeout=10)
    pool.stop()
    pool.join(time.monotonic() + 10)


def test_joining_does_not_wait_for_a_stuck_worker(detector):
    detector, proceed = detector("latency"), threading.Event()
    detector.infer = lambda batch: proceed.wait(30)
    pool = WorkerPool(detector, 0, no_failure)
    stream = Stream("film", 0, parse_policy("every"), 9, pool.scheduler.lock, pool.scheduler.notify, lambda: None)
    pool.scheduler.streams["film"] = stream
    pool.start()
    stream.frames.put(make_frame())
    pool.stop()
    start = time.monotonic()
    pool.join(start + 0.1)
    assert time.monotonic() - start < 5
    proceed.set()


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
def test_frames_are_batched_where_that_is_faster(detector, batch, mode, device, window_s, together):
    detector = detector(mode)
    detector.info = replace(detector.info, batch=batch)
    detector.max_batch = detector._maximum_batch()
    detector.device = device
    pool = WorkerPool(detector, window_s, no_failure)
    assert pool._batch == together
    assert pool.frames_per_stream == 2 * 2 * together


def test_each_kind_is_reported_once(capsys):
    failures = DetectorFailures()
    failures.record("door", ValueError("bad\nshape"))
    failures.record("yard", ValueError("another shape"))
    failures.record("yard", KeyError("x"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "door: a frame is dropped, ValueError: bad shape (counted; not reported again)"
    assert "yard" in lines[1] and "KeyError" in lines[1]


def test_passwords_are_not_reported(capsys):
    DetectorFailures().record("door", ValueError("cannot read rtsp://admin:geheim@10.0.0.7/cam"))
    assert "geheim" not in capsys.readouterr().err


def test_a_hundred_failures_in_a_row_are_reported_once():
    failures = DetectorFailures()
    outcomes = [failures.record("door", ValueError("bad shape")) for _ in range(2 * MAX_FAILURES)]
    assert MAX_FAILURES == 100
    assert [index for index, error in enumerate(outcomes) if error] == [99]
    assert isinstance(outcomes[99], FGDError)
    assert "100 frames in a row: bad shape" in str(outcomes[99])


def test_a_success_resets_the_count_of_failures():
    failures = DetectorFailures()
    for _ in range(5):
        assert not any(failures.record("door", ValueError()) for _ in range(99))
        failures.reset()
