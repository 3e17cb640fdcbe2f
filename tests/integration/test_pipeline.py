"""The pipeline without any replaced part: H.264 files, readers, an ONNX file, queues, JSON lines."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

import av
import numpy as np
import pytest

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams import pipeline as pipeline_module
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
from fgd_yolo.streams.steps.tracking import ObjectTracker
from fgd_yolo.streams.summary import closing_table
from onnx_files import save_brightness_detector
from stream_parts import write_video

SIDE, FRAMES = 64, 60
ROUNDS = Path(__file__).parents[1] / "stream_rounds.py"
ROUNDS_MADE = 300


def brightness_file(path, batch=1):
    """Write a detector of one object in the centre whose score is the brightness of the image."""
    metadata = {"names": "{0: 'light'}", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "end2end": "False"}
    return save_brightness_detector(path, [[32, 32, 20, 12]], [1], [0], batch=batch, side=SIDE, metadata=metadata)


@pytest.fixture(autouse=True)
def unbounded_queues(monkeypatch):
    """Queues that drop no result, although the detector is faster than any sink."""
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=10_000))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "video.mp4", FRAMES, width=SIDE, height=SIDE)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected(detector, video):
    """Return the detections in each frame of a file, read without this package."""
    with av.open(str(video)) as container:
        images = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return [detections.to_dict()["objects"] for detections in detector(images)]


@pytest.mark.parametrize(
    ("mode", "batch", "window_s"),
    [("latency", 1, 0), ("throughput", 1, 0), ("latency", 4, 0), ("latency", "frames", 0.002)],
)
def test_files_give_the_detections_of_each_of_their_frames(tmp_path, video, mode, batch, window_s):
    detector = OnnxDetector(brightness_file(tmp_path / "light.onnx", batch), "cpu", 2, mode=mode, conf=0.01)
    pipeline = Pipeline(detector, [JsonLinesSink(tmp_path / "detections.jsonl")], batch_window_s=window_s)
    names = [pipeline.add(str(video)) for _ in range(3)]
    assert names == ["video", "video-2", "video-3"]
    with pipeline:
        assert pipeline.wait(60)
    truth = expected(detector, video)
    assert len(truth) == FRAMES and len({objects[0]["confidence"] for objects in truth}) > 40
    lines = lines_of(tmp_path / "detections.jsonl")
    for name in names:
        stream_lines = [line for line in lines if line["stream"] == name]
        assert [line["kind"] for line in stream_lines] == ["result"] * FRAMES + ["gap"]
        assert [line["index"] for line in stream_lines[:-1]] == list(range(FRAMES))
        assert [line["objects"] for line in stream_lines[:-1]] == truth
        np.testing.assert_allclose([line["pts_s"] for line in stream_lines[:-1]], np.arange(FRAMES) / 25, atol=1e-6)


def test_the_summary_accounts_for_every_frame(tmp_path, video):
    detector = OnnxDetector(brightness_file(tmp_path / "light.onnx"), "cpu", 1)
    pipeline = Pipeline(detector, [JsonLinesSink(tmp_path / "detections.jsonl")])
    pipeline.add(str(video), "door")
    pipeline.add("test://", "yard", policy="max-age=400")
    with pipeline:
        while pipeline.stats()["streams"]["yard"]["inferred"] < 3:
            pipeline.wait(0.02)
    stats = pipeline.stats()
    for stream in stats["streams"].values():
        assert stream["in_flight"] == 0
        assert stream["seen"] == stream["inferred"] + sum(stream["dropped"].values())
    table = closing_table(stats).splitlines()
    assert table[0].startswith("stream") and table[1].startswith("door") and table[2].startswith("yard")
    assert int(table[1].split()[2]) == stats["streams"]["door"]["seen"] == FRAMES
    written = sum(line["kind"] == "result" for line in lines_of(tmp_path / "detections.jsonl"))
    assert written == sum(stream["delivered"] for stream in stats["streams"].values())


def test_tracking_gives_ids_in_the_order_of_the_frames(tmp_path, video):
    detector = OnnxDetector(brightness_file(tmp_path / "light.onnx"), "cpu", 2, mode="throughput", conf=0.01)
    sink = JsonLinesSink(tmp_path / "detections.jsonl")
    pipeline = Pipeline(detector, [sink], steps=[ObjectTracker(min_confidence=0.01)])
    pipeline.add(str(video), "door")
    with pipeline:
        assert pipeline.wait(60)
    ids = [
        line["objects"][0]["tracker_id"] for line in lines_of(tmp_path / "detections.jsonl") if line["kind"] == "result"
    ]
    assert len(ids) == FRAMES
    assert set(ids[2:]) == {1}


@pytest.mark.slow
@pytest.mark.long
def test_threads_and_memory_stay_flat_while_streams_come_and_go(tmp_path, video):
    model = brightness_file(tmp_path / "light.onnx")
    large = write_video(tmp_path / "large.mp4", 12, width=1280, height=720)
    # In a separate process, without the memory of other tests, and with few arenas, since the allocator keeps the freed
    # memory of a thread in each of them.
    command = [sys.executable, ROUNDS, model, str(ROUNDS_MADE), video, large, video]
    few_arenas = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(command, env=few_arenas, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["removed"] == 32
    threads, memory = (
        measured["threads"][15:],
        measured["memory"],
    )  # after 15 rounds the list of removed streams is full
    assert threads[-1] <= threads[0] + 6  # the last readers may still be stopping
    # The allocator still takes memory for some 200 rounds, in steps.
    growth = median(memory[-20:]) - median(memory[-80:-60])
    assert growth < 60 * 2**20  # of 60 rounds; one large frame in each would take 156 MiB
