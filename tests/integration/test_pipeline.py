"""The pipeline with real parts all the way: H.264 files, readers, an ONNX file, queues, JSON lines."""

import json
import os
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams import pipeline as pipeline_module
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.sinks import SinkQueue
from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
from fgd_yolo.streams.steps.tracking import ObjectTracker
from fgd_yolo.streams.summary import summary
from onnx_files import save
from stream_parts import write_video

SIDE, FRAMES = 64, 60
ROUNDS = Path(__file__).parents[1] / "stream_rounds.py"


def brightness_file(path, batch=1):
    """Write a detector of one object in the middle whose score is the brightness of the picture."""
    fixed = np.array([32, 32, 20, 12, 0], np.float32).reshape(1, 5, 1)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["means", "column"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "scale"], ["score"]),
        helper.make_node("Add", ["fixed", "score"], ["output0"]),
    ]
    scale = np.array([0, 0, 0, 0, 1], np.float32).reshape(1, 5, 1)
    constants = {"column": np.array([-1, 1, 1]), "scale": scale, "fixed": fixed}
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 5, 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    said = {"task": "detect", "names": "{0: 'light'}", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "end2end": "False"}
    return save(graph, path, said, opset=13)


@pytest.fixture(autouse=True)
def patient_queues(monkeypatch):
    """Let no result be dropped, although the detector is faster than any sink."""
    monkeypatch.setattr(pipeline_module, "SinkQueue", partial(SinkQueue, frames=10_000))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("films") / "film.mp4", FRAMES, width=SIDE, height=SIDE)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected(detector, film):
    """What the detector says to each picture of a file, read without anything of ours."""
    with av.open(str(film)) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return [found.to_dict()["objects"] for found in detector(pictures)]


@pytest.mark.parametrize(
    ("mode", "batch", "window_s"),
    [("latency", 1, 0), ("throughput", 1, 0), ("latency", 4, 0), ("latency", "frames", 0.002)],
)
def test_files_give_what_the_detector_says_to_each_of_their_pictures(tmp_path, film, mode, batch, window_s):
    detector = OnnxDetector(brightness_file(tmp_path / "light.onnx", batch), "cpu", 2, mode=mode, conf=0.01)
    pipeline = Pipeline(detector, [JsonLinesSink(tmp_path / "found.jsonl")], batch_window_s=window_s)
    names = [pipeline.add(str(film)) for _ in range(3)]
    assert names == ["film", "film-2", "film-3"]
    with pipeline:
        assert pipeline.wait(60)
    truth = expected(detector, film)
    assert len(truth) == FRAMES and len({found[0]["score"] for found in truth}) > 40
    lines = lines_of(tmp_path / "found.jsonl")
    for name in names:
        own = [line for line in lines if line["stream"] == name]
        assert [line["kind"] for line in own] == ["result"] * FRAMES + ["gap"]
        assert [line["index"] for line in own[:-1]] == list(range(FRAMES))
        assert [line["objects"] for line in own[:-1]] == truth
        np.testing.assert_allclose([line["pts_s"] for line in own[:-1]], np.arange(FRAMES) / 25, atol=1e-6)


def test_the_closing_table_accounts_for_every_frame(tmp_path, film):
    detector = OnnxDetector(brightness_file(tmp_path / "light.onnx"), "cpu", 1)
    pipeline = Pipeline(detector, [JsonLinesSink(tmp_path / "found.jsonl")])
    pipeline.add(str(film), "door")
    pipeline.add("test://", "yard", policy="max-age=400")
    with pipeline:
        while pipeline.stats()["streams"]["yard"]["inferred"] < 3:
            pipeline.wait(0.02)
    found = pipeline.stats()
    for one in found["streams"].values():
        assert one["in_flight"] == 0
        assert one["seen"] == one["inferred"] + sum(one["dropped"].values())
    table = summary(found).splitlines()
    assert table[0].startswith("stream") and table[1].startswith("door") and table[2].startswith("yard")
    assert int(table[1].split()[2]) == found["streams"]["door"]["seen"] == FRAMES
    written = sum(line["kind"] == "result" for line in lines_of(tmp_path / "found.jsonl"))
    assert written == sum(one["delivered"] for one in found["streams"].values())


def test_tracking_gives_ids_in_the_order_of_the_frames(tmp_path, film):
    detector = OnnxDetector(brightness_file(tmp_path / "light.onnx"), "cpu", 2, mode="throughput", conf=0.01)
    sink = JsonLinesSink(tmp_path / "found.jsonl")
    pipeline = Pipeline(detector, [sink], steps=[ObjectTracker(min_score=0.01)])
    pipeline.add(str(film), "door")
    with pipeline:
        assert pipeline.wait(60)
    ids = [line["objects"][0]["id"] for line in lines_of(tmp_path / "found.jsonl") if line["kind"] == "result"]
    assert len(ids) == FRAMES
    assert set(ids[2:]) == {1}


@pytest.mark.slow
def test_threads_and_memory_stay_flat_while_streams_come_and_go(tmp_path, film):
    model = brightness_file(tmp_path / "light.onnx")
    large = write_video(tmp_path / "large.mp4", 12, width=1280, height=720)
    # A process of its own, since this one holds what other tests left; few arenas, for the allocator keeps what a
    # thread frees in each of them.
    command = [sys.executable, ROUNDS, model, "65", film, large, film]
    few_arenas = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(command, env=few_arenas, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["removed"] == 32
    threads, memory = found["threads"][15:], found["memory"][15:]  # that list is full, caches are warm
    assert threads[-1] <= threads[0] + 6  # the last readers may still be on their way out
    growths = [after - before for before, after in pairwise(memory)]
    assert median(growths) < 2**20  # of a round: one large picture that stays is 2.6 MiB
