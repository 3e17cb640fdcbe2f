from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from disks import read_only_disk, small_disk
from fgd_yolo.errors import FGDError
from fgd_yolo.files import sha256_of_file
from fgd_yolo.streams.sinks import SinkQueue, SinkStopped
from fgd_yolo.streams.sinks.collect import CollectSink
from fgd_yolo.streams.sinks.message import result_message
from stream_results import LONG_S, make_result

UNSURE, SURE = ((1, 0.3, (8, 8, 24, 20)),), ((1, 0.9, (8, 8, 24, 20)),)


def view(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return an image of soft spots that is no near-duplicate of one with another seed."""
    spots = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)


def results(count: int, objects=UNSURE, stream: str = "door", **options) -> list:
    """Return results on different views, two seconds apart."""
    return [
        make_result(stream, index, objects, image=view(index), pts=2.0 * index, **options) for index in range(count)
    ]


def collector(folder: Path, **options) -> CollectSink:
    return CollectSink(folder, **{"per_hour": 3600, "limit_mb": 10, **options})


def messages(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.rglob("*.json")]


def test_a_kept_frame_has_its_pixels_and_the_message_of_the_json_lines_beside_it(tmp_path):
    model = tmp_path / "best.onnx"
    model.write_bytes(b"weights")
    result = make_result("front door", 7, UNSURE, image=view(1, 480, 640), pts=1.5, tracker_id=[4])
    pixels = result.frame.image().copy()
    assert collector(tmp_path / "kept", model=model).write(result) is True
    (jpeg,) = (tmp_path / "kept").rglob("*.jpg")
    assert jpeg.parent.name == "front_door"
    image = cv2.imread(str(jpeg))
    assert image.shape == pixels.shape and np.abs(image.astype(int) - pixels).mean() < 2  # no box is drawn
    (message,) = messages(tmp_path / "kept")
    line = result_message(result)
    times = {"time", "age_s"}
    assert {key: message[key] for key in line.keys() - times} == {key: line[key] for key in line.keys() - times} | {
        "kind": "collected"
    }
    assert message["reason"] == "uncertain"
    assert message["model"] == {"name": "best.onnx", "sha256": sha256_of_file(model)}
    assert "".join(filter(str.isalnum, message["time"])) == jpeg.stem


def test_what_is_kept_is_counted_by_stream_and_reason(tmp_path):
    queue = SinkQueue(collector(tmp_path))
    for result in [*results(3), *results(2, SURE, "yard"), *results(2, SURE, "hall")]:
        queue.put(result, LONG_S)
    assert queue.close(LONG_S)
    counted = queue.snapshot()
    # The views of the yard and the hall are those of the door.
    assert counted["kept"] == {"door": {"uncertain": 3}}
    assert (counted["written"], counted["skipped"], counted["failure"]) == (3, 4, None)
    assert "stopped" not in counted and len(list(tmp_path.rglob("*.jpg"))) == 3


def test_ordinary_frames_are_a_trickle(tmp_path):
    sink = collector(tmp_path, per_hour=600)  # one in a minute
    assert [sink.write(result) for result in results(61, SURE)].count(True) == 3
    assert {message["reason"] for message in messages(tmp_path)} == {"ordinary"}


def test_the_frame_without_a_track_that_returns_is_kept_with_its_own_detections(tmp_path):
    sink = collector(tmp_path)
    for index in range(12):
        objects = () if index == 9 else SURE
        ids = [] if index == 9 else [5]
        sink.write(make_result("door", index, objects, image=view(index), pts=index / 5, tracker_id=ids))
    kept = {message["reason"]: message for message in messages(tmp_path)}
    assert kept["flicker"]["index"] == 9 and kept["flicker"]["objects"] == []
    assert kept["flicker"]["pts_s"] == 1.8


def test_near_duplicates_are_left_out_also_of_another_stream(tmp_path):
    sink = collector(tmp_path)
    for index in range(20):
        image = np.clip(view(3).astype(int) + index % 3, 0, 255).astype(np.uint8)
        sink.write(make_result("door" if index % 2 else "yard", index, UNSURE, image=image, pts=2.0 * index))
    assert len(messages(tmp_path)) == 1


def test_an_hour_is_one_of_the_stream_and_goes_on_when_its_source_restarts(tmp_path):
    sink = collector(tmp_path, per_hour=10)
    times = [0.0, 1.0, 2.0, *[400.0 * step for step in range(1, 9)], 0.0, 5.0, 900.0]
    for index, pts in enumerate(times):
        sink.write(make_result("door", index, UNSURE, image=view(index), pts=pts))
    kept = [message["pts_s"] for message in sorted(messages(tmp_path), key=lambda message: message["index"])]
    assert kept == [0.0, 1.0, *[400.0 * step for step in range(1, 9)], 900.0]


def test_frames_of_one_channel_are_kept_as_they_are_and_of_four_not_at_all(tmp_path):
    sink = collector(tmp_path / "grey")
    assert sink.write(make_result(objects=UNSURE, image=view(1)[..., :1]))
    (jpeg,) = (tmp_path / "grey").rglob("*.jpg")
    assert cv2.imread(str(jpeg), cv2.IMREAD_UNCHANGED).ndim == 2
    with pytest.raises(SinkStopped, match="a JPEG has 1 or 3 channels, and the frames have 4"):
        collector(tmp_path / "four").write(make_result(objects=UNSURE, image=view(1)[..., [0, 1, 2, 0]]))


def test_a_model_that_cannot_be_read_is_an_error_of_one_line(tmp_path):
    with pytest.raises(FGDError, match=r"nosuch\.onnx cannot be read: No such file"):
        collector(tmp_path, model=tmp_path / "nosuch.onnx")


def test_at_the_limit_collecting_stops_with_one_line_and_is_no_failure(tmp_path, capfd):
    queue = SinkQueue(collector(tmp_path, limit_mb=0.005))
    for result in results(20):
        queue.put(result, LONG_S)
    assert queue.close(LONG_S)
    counted = queue.snapshot()
    assert counted["state"] == "off" and counted["failure"] is None and counted["dropped"].get("error") is None
    assert counted["stopped"].startswith("collecting stops, the streams go on: its limit of 0.005 MB is reached")
    assert counted["kept"]["door"]["uncertain"] == counted["written"] == len(list(tmp_path.rglob("*.jpg"))) > 0
    assert counted["written"] + counted["skipped"] + sum(counted["dropped"].values()) == 20
    assert capfd.readouterr().err.splitlines() == [f"sink collect {tmp_path}: {counted['stopped']}"]
    before = sorted(tmp_path.rglob("*"))
    again = collector(tmp_path, limit_mb=0.005)
    with pytest.raises(SinkStopped, match="limit"):
        for result in results(20):
            again.write(result)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(params=["full", "read-only", "in a file"])
def bad_disk(request, tmp_path):
    """A folder that cannot hold many frames, and what the system says about it."""
    if request.param == "full":
        with small_disk(tmp_path / "disk", 24) as folder:
            yield folder / "frames", "No space left on device"
    elif request.param == "read-only":
        with read_only_disk(tmp_path / "disk") as folder:
            yield folder / "frames", "Read-only file system"
    else:
        (tmp_path / "file").write_text("")
        yield tmp_path / "file" / "frames", "Not a directory"


def test_on_a_bad_disk_collecting_stops_with_one_line_and_the_status_says_so(bad_disk, capfd):
    folder, reason = bad_disk
    queue = SinkQueue(collector(folder))
    for index in range(60):
        queue.put(make_result("door", index, UNSURE, image=view(index, 96, 128), pts=2.0 * index), LONG_S)
    queue.gap("door", "stopped")
    assert queue.close(LONG_S)
    counted = queue.snapshot()
    assert counted["state"] == "off" and counted["stopped"] == counted["failure"] and reason in counted["failure"]
    assert counted["stopped"].startswith("collecting stops, the streams go on: ")
    assert counted["dropped"] == {"error": 1} and counted["written"] + counted["skipped"] == 59
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"sink collect {folder}: {counted['stopped']}"
    jpegs, descriptions = list(folder.rglob("*.jpg")), list(folder.rglob("*.json"))
    assert {path.stem for path in jpegs} == {path.stem for path in descriptions} and len(jpegs) == counted["written"]
    assert all(cv2.imread(str(path)).shape == (96, 128, 3) for path in jpegs)
