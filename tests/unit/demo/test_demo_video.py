"""The rendered video against its ground truth."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from fgd_yolo.demo import demo_video

SMALL = {"seconds": 12, "fps": 10, "width_px": 320, "height_px": 240}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> tuple[list[np.ndarray], dict, Path]:
    mp4, truth = demo_video(tmp_path_factory.mktemp("cache"), **SMALL)
    capture, frames = cv2.VideoCapture(str(mp4)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, json.loads(truth.read_text()), mp4.parent


def test_the_video_has_one_truth_entry_per_frame(video):
    frames, truth, _ = video
    assert len(frames) == len(truth["frames"]) == 120
    assert {frame.shape for frame in frames} == {(240, 320, 3)}
    assert (truth["fps"], truth["width_px"], truth["height_px"]) == (10, 320, 240)


def test_it_begins_empty_and_then_several_signs_move_at_once(video):
    _, truth, _ = video
    counts = [len(objects) for objects in truth["frames"]]
    assert not any(counts[:10])
    assert max(counts) >= 3
    assert {entry["class"] for objects in truth["frames"] for entry in objects} == set(range(len(truth["names"])))


def test_ids_are_unique_per_frame_keep_their_class_and_their_boxes_move_smoothly(video):
    _, truth, _ = video
    last: dict[int, tuple[int, np.ndarray]] = {}
    moved = {}
    for index, objects in enumerate(truth["frames"]):
        assert len({entry["id"] for entry in objects}) == len(objects)
        for entry in objects:
            left, top, right, bottom = entry["xyxy"]
            assert 0 <= left < right <= 320 and 0 <= top < bottom <= 240
            before = last.get(entry["id"])
            assert before is None or before[0] == entry["class"]
            last[entry["id"]] = (entry["class"], np.array(entry["xyxy"]))
            moved.setdefault(entry["id"], []).append((index, (left + right) / 2))
    steps = [abs(b[1] - a[1]) for track in moved.values() for a, b in pairwise(track) if b[0] - a[0] == 1]
    assert np.median(steps) > 1
    assert np.percentile(steps, 95) < 40


def test_the_boxes_are_where_the_image_changes(video):
    frames, truth, _ = video
    empty = frames[0].astype(int)
    fractions = []
    for frame, objects in zip(frames[::5], truth["frames"][::5], strict=True):
        changed = np.abs(frame.astype(int) - empty).max(axis=2) > 40
        for left, top, right, bottom in (entry["xyxy"] for entry in objects):
            fractions.append(changed[top:bottom, left:right].mean())
    assert np.median(fractions) > 0.4


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(video, tmp_path):
    folder = video[2]
    short = {**SMALL, "seconds": 3}
    again, first = [demo_video(tmp_path / name, **short)[0].parent for name in ("again", "first")]
    for name in ("demo.mp4", "truth.json"):
        assert (again / name).read_bytes() == (first / name).read_bytes()
    other = demo_video(tmp_path, **short, seed=1)[0].parent
    assert (other / "demo.mp4").read_bytes() != (first / "demo.mp4").read_bytes()
    assert other.parent == tmp_path and folder.name != other.name


def test_a_complete_video_is_reused(video):
    folder = video[2]
    before = (folder / "demo.mp4").stat().st_mtime_ns
    assert demo_video(folder.parent, **SMALL) == (folder / "demo.mp4", folder / "truth.json")
    assert (folder / "demo.mp4").stat().st_mtime_ns == before
