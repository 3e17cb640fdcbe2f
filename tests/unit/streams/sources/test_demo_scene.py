from __future__ import annotations

import time

import numpy as np
import pytest

from fgd_yolo.demo.signs import NAMES
from fgd_yolo.streams.sources import SourceEnded, open_source
from fgd_yolo.streams.sources.demo_scene import scene_truth

QUICK = "test://?fps=50&size=160x120&seconds=0.5"


def test_frames_come_at_the_camera_s_pace_until_the_time_is_up():
    source = open_source(QUICK, timeout_s=1)
    began = time.monotonic()
    frames = []
    with pytest.raises(SourceEnded):
        while True:
            frames.append(source.read())
    assert time.monotonic() - began > 0.45  # it never runs ahead; how far it falls behind depends on the machine
    assert (source.live, source.fps) == (True, 50)
    assert {frame.pixels.shape for frame in frames} == {(120, 160, 3)}
    assert all(frame.arrived >= began + frame.pts for frame in frames)
    times = [frame.pts for frame in frames]
    assert times == sorted(set(times)) and set(np.round(np.array(times) * 50, 6) % 1) == {0}


def test_a_reader_that_comes_late_gets_the_newest_frame():
    source = open_source("test://?fps=50&size=160x120", timeout_s=1)
    source.read()
    time.sleep(0.3)
    assert source.read().pts >= 0.28


def test_equal_addresses_draw_equal_frames_and_other_seeds_do_not():
    frames = [open_source(f"{QUICK}&seed={seed}", timeout_s=1).read().pixels for seed in (1, 1, 2)]
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], frames[2])


def test_the_truth_has_the_positions_of_moving_signs():
    address = "test://?size=320x240"
    spans = {}
    for pts in np.arange(0, 20, 0.5):
        for sign in scene_truth(address, pts):
            left, top, right, bottom = sign["xyxy"]
            assert 0 <= left < right <= 320 and 0 <= top < bottom <= 240 and 0 <= sign["class"] < len(NAMES)
            spans.setdefault(sign["id"], []).append(left)
    assert len(spans) > 5
    assert max(max(lefts) - min(lefts) for lefts in spans.values()) > 100
    assert scene_truth(address, 0.5) == []


def test_the_truth_is_that_of_the_frames():
    from fgd_yolo.streams.sources.demo_scene import _scene, parse_scene

    scene = _scene(parse_scene("test://?size=320x240"))
    empty, _ = scene.paint(0.0)
    painted, truth = scene.paint(9.0)
    moved = np.abs(painted - empty).max(axis=2) > 40
    assert truth
    for sign in truth:
        left, top, right, bottom = sign["xyxy"]
        assert moved[top:bottom, left:right].mean() > 0.2


def test_the_next_round_has_new_ids():
    first, second = ({sign["id"] for sign in scene_truth("test://", pts)} for pts in (9.0, 69.0))
    assert first and len(first) == len(second) and not first & second
