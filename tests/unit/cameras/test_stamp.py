from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from tests.cameras.clips import read_frames, write_frames
from tests.cameras.stamp import Scene, add_stamp, draw_frame, read_stamp

TIMES_NS = [0, 1, 2**63, 0xA5A5_0F0F_3C3C_9669]


def image(raw, width=640, height=480):
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("time_ns", TIMES_NS)
def test_a_time_is_read_as_it_was_written(time_ns):
    assert read_stamp(image(draw_frame(640, 480, time_ns))) == time_ns


def test_a_time_survives_jpeg_on_any_image():
    random = np.random.default_rng(0)
    raw = random.integers(0, 255, (480, 640, 3), np.uint8).tobytes()
    images = [image(add_stamp(raw, 640, time_ns)) for time_ns in TIMES_NS]
    jpegs = [cv2.imdecode(cv2.imencode(".jpg", one)[1], cv2.IMREAD_COLOR) for one in images]
    assert [read_stamp(one) for one in jpegs] == TIMES_NS


def test_a_time_survives_h264(tmp_path):
    frames = [image(draw_frame(640, 480, time_ns, index)) for index, time_ns in enumerate(TIMES_NS)]
    clip = write_frames(tmp_path / "clip.mp4", frames)
    assert [read_stamp(frame) for frame in read_frames(clip)] == TIMES_NS


def test_the_stamp_covers_its_corner_alone():
    raw = np.full((480, 640, 3), 7, np.uint8).tobytes()
    stamped = image(add_stamp(raw, 640, 0)).copy()
    assert (stamped[:80, :320] == 0).all()
    stamped[:80, :320] = 7
    assert (stamped == 7).all()


def test_a_raw_video_is_repeated_and_each_frame_has_its_own_time(tmp_path):
    raw_video = tmp_path / "video.bgr"
    np.stack([np.full((240, 320, 3), shade, np.uint8) for shade in (10, 20, 30)]).tofile(raw_video)
    scene = Scene((320, 240), raw_video)
    before = time.monotonic_ns()
    frames = [image(scene.frame(index), 320, 240) for index in range(5)]
    assert [int(frame[-1, -1, 0]) for frame in frames] == [10, 20, 30, 10, 20]
    times = [read_stamp(frame) for frame in frames]
    assert before < times[0] < times[1] < times[4] < time.monotonic_ns()
