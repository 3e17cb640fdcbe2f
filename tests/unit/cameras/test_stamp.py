from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from benchmarks.stream_rates import read_clip, write_clip
from tests.cameras.stamp import Scene, drawn, read_stamp, stamped

TIMES_NS = [0, 1, 2**63, 0xA5A5_0F0F_3C3C_9669]


def picture(raw, width=640, height=480):
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("time_ns", TIMES_NS)
def test_a_time_is_read_as_it_was_written(time_ns):
    assert read_stamp(picture(drawn(640, 480, time_ns))) == time_ns


def test_a_time_survives_jpeg_on_any_picture():
    random = np.random.default_rng(0)
    raw = random.integers(0, 255, (480, 640, 3), np.uint8).tobytes()
    pictures = [picture(stamped(raw, 640, time_ns)) for time_ns in TIMES_NS]
    jpegs = [cv2.imdecode(cv2.imencode(".jpg", one)[1], cv2.IMREAD_COLOR) for one in pictures]
    assert [read_stamp(one) for one in jpegs] == TIMES_NS


def test_a_time_survives_h264(tmp_path):
    pictures = [picture(drawn(640, 480, time_ns, index)) for index, time_ns in enumerate(TIMES_NS)]
    clip = write_clip(tmp_path / "clip.mp4", pictures)
    assert [read_stamp(one) for one in read_clip(clip)] == TIMES_NS


def test_the_stamp_covers_its_corner_alone():
    raw = np.full((480, 640, 3), 7, np.uint8).tobytes()
    marked = picture(stamped(raw, 640, 0)).copy()
    assert (marked[:80, :320] == 0).all()
    marked[:80, :320] = 7
    assert (marked == 7).all()


def test_a_film_is_shown_again_and_again_each_time_with_the_time(tmp_path):
    film = tmp_path / "film.bgr"
    np.stack([np.full((240, 320, 3), shade, np.uint8) for shade in (10, 20, 30)]).tofile(film)
    scene = Scene((320, 240), film)
    before = time.monotonic_ns()
    shown = [picture(scene.picture(index), 320, 240) for index in range(5)]
    assert [int(one[-1, -1, 0]) for one in shown] == [10, 20, 30, 10, 20]
    times = [read_stamp(one) for one in shown]
    assert before < times[0] < times[1] < times[4] < time.monotonic_ns()
