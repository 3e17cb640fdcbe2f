"""A phone's video through the stream command: detections, recordings and page are upright, as in Ultralytics."""

from __future__ import annotations

import asyncio
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.cache import cache_root
from fgd_yolo.cli.stream_command import run_command
from fgd_yolo.demo import demo_video
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.streams.frame import Frame, Result
from fgd_yolo.streams.sources import open_source
from fgd_yolo.streams.web.latest_frames import LatestFrames
from tests.cameras.clips import ORIENTATIONS, coloured_clip, corners, encode, numbered_image, with_matrix, write_clip

pytestmark = pytest.mark.slow
MODEL = Path(__file__).parents[1] / "data" / "demo.onnx"
SMALL = {"seconds": 8, "fps": 10, "width_px": 320, "height_px": 240}


def overlap(one, other):
    """Return the intersection over union of two boxes, left, top, right, bottom."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    return common / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common)


@pytest.mark.parametrize("turn", ["right", "over", "left"])
def test_boxes_of_a_rotated_video_are_those_of_ultralytics(tmp_path, turn):
    from ultralytics import YOLO

    video, _ = demo_video(cache_root(), **SMALL)
    phone = with_matrix(video, tmp_path / "phone.mp4", ORIENTATIONS[turn])
    assert run_command(["--model", str(MODEL), "--source", str(phone), "--json", "out.jsonl", "--save", "saved"]) == 0
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    ours = [line for line in lines if line["kind"] == "result"]
    expected = list(YOLO(MODEL, task="detect").predict(phone, stream=True, verbose=False))
    assert len(ours) == len(expected) == 80
    assert {(line["height"], line["width"]) for line in ours} == {result.orig_shape for result in expected}
    wanted = matched = 0
    for line, result in zip(ours, expected, strict=True):
        left = [(thing["class_id"], thing["xyxy"]) for thing in line["objects"]]
        for label, box in zip(result.boxes.cls.tolist(), result.boxes.xyxy.tolist(), strict=True):
            same = [one for one in left if one[0] == label and overlap(one[1], box) > 0.9]
            wanted, matched = wanted + 1, matched + bool(same)
            for one in same[:1]:
                left.remove(one)
    assert wanted > 50
    assert matched >= 0.95 * wanted  # decoders round a pixel otherwise
    (saved,) = Path("saved").rglob("*.mp4")
    with av.open(str(saved)) as file:
        frames = list(file.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([index / 10 for index in range(80)])
    assert (frames[0].height, frames[0].width, frames[0].rotation) == (*expected[0].orig_shape, 0)
    shown = cv2.VideoCapture(str(phone)).read()[1]
    assert np.abs(frames[0].to_ndarray(format="bgr24").astype(int) - shown).mean() < 12


def test_the_page_shows_a_rotated_video_upright(tmp_path):
    source = open_source(str(coloured_clip(tmp_path / "phone.mov", ORIENTATIONS["right"], frames=1)), timeout_s=1)
    frame = Frame("phone", 0, *source.read())
    detections = OnnxDetector(MODEL, "cpu", 1)(frame.image())
    frames = LatestFrames()
    frames(Result(frame, detections, frame.arrived, frame.arrived))
    jpeg = asyncio.run(frames.wait_for_jpeg("phone", None, 5)).jpeg
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    expected = cv2.VideoCapture(str(tmp_path / "phone.mov")).read()[1]
    assert (shown.shape, corners(shown)) == (expected.shape, corners(expected)) == ((320, 240, 3), "brkg")


@pytest.mark.parametrize("name", ["raw.h264", "raw.mjpeg", "b.avi", "images"])
def test_the_recording_of_a_source_without_times_has_its_playing_time(tmp_path, name):
    if name == "images":
        (tmp_path / name).mkdir()
        for index in range(60):
            cv2.imwrite(str(tmp_path / name / f"{index + 1}.png"), numbered_image(index))
    elif name == "raw.mjpeg":
        encode(tmp_path / name, "mjpeg", container="mjpeg", pix_fmt="yuvj420p", frames=60)
    else:
        encode(tmp_path / name, "libx264", container=None if name == "b.avi" else "h264", bf="3", frames=60)
    words = ["--source", str(tmp_path / name), "--json", "out.jsonl", "--save", "saved"]
    assert run_command(["--model", str(MODEL), *words]) == 0
    times = [json.loads(line).get("pts_s") for line in Path("out.jsonl").read_text().splitlines()]
    wanted = [index / 25 for index in range(60)]
    assert [time for time in times if time is not None] == pytest.approx(wanted, abs=1e-6)
    (saved,) = Path("saved").rglob("*.mp4")
    with av.open(str(saved)) as file:
        assert [frame.time for frame in file.decode(video=0)] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("turn", "wide"), [(None, Fraction(4, 3)), ("right", Fraction(3, 4))])
def test_oblong_pixels_are_counted_as_stored_and_recorded_as_oblong(tmp_path, turn, wide):
    with av.open(str(tmp_path / "tape.mp4"), "w") as file:
        track = file.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = 320, 240, "yuv420p"
        track.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for index in range(3):
            file.mux(track.encode(av.VideoFrame.from_ndarray(numbered_image(index), "bgr24")))
        file.mux(track.encode())
    path = (
        with_matrix(tmp_path / "tape.mp4", tmp_path / "turned.mp4", ORIENTATIONS[turn])
        if turn
        else tmp_path / "tape.mp4"
    )
    words = ["--source", str(path), "--json", "out.jsonl", "--save", "saved"]
    assert run_command(["--model", str(MODEL), *words]) == 0
    line = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    assert (line["height"], line["width"]) == cv2.VideoCapture(str(path)).read()[1].shape[:2]
    (saved,) = Path("saved").rglob("*.mp4")
    with av.open(str(saved)) as file:
        assert file.streams.video[0].sample_aspect_ratio == wide


def test_videos_of_a_folder_are_recorded_each_into_its_own_file(tmp_path):
    (tmp_path / "clips").mkdir()
    for name, frames in (("a.mp4", 3), ("b.mp4", 12), ("c.mp4", 4)):
        write_clip(tmp_path / "clips" / name, frames=frames, fps=15)
    assert run_command(["--model", str(MODEL), "--source", str(tmp_path / "clips"), "--save", "saved"]) == 0
    counts = []
    for path in sorted(Path("saved").rglob("*.mp4"), key=lambda path: path.stat().st_mtime_ns):
        with av.open(str(path)) as file:
            counts.append(sum(1 for _ in file.decode(video=0)))
    assert counts == [3, 12, 4]
