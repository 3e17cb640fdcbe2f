"""The cameras that benchmarks and tests share: what they show, when, and that they leave nothing behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.sources import Source, open_source
from servers.running import rtsp_server
from tests.cameras.processes import Server, camera, mjpeg_server
from tests.cameras.stamp import read_stamp

FPS = 15


FILM = [np.full((240, 320, 3), shade, np.uint8) for shade in (40, 120, 200)]


def look(address: str, pictures: int) -> tuple[Source, list[np.ndarray]]:
    """Open a camera and see so many pictures."""
    source = open_source(address, timeout_s=3)
    return source, [source.read().pixels.to_ndarray(format="bgr24") for _ in range(pictures)]


@pytest.mark.parametrize(("kind", "server"), [("RTSP", rtsp_server), ("MJPEG", mjpeg_server)])
def test_a_camera_shows_its_film_with_the_time_of_each_picture(kind, server):
    server().stop()  # skips where GStreamer is not installed
    began = time.monotonic()
    with camera(kind, FILM, FPS) as address:
        source, seen = look(address, 6)
        source.close()
    assert {round(image[-20:, -20:].mean() / 40) for image in seen} == {1, 3, 5}
    times = [read_stamp(image) / 1e9 for image in seen]
    assert began < times[0] and times[-1] < time.monotonic()
    assert times == sorted(set(times))


def test_all_who_watch_a_camera_over_rtsp_see_the_same_pictures():
    rtsp_server().stop()  # skips where GStreamer is not installed
    with camera("RTSP", FILM, FPS) as address:
        first, seen = look(address, 1)
        second, later = look(address, 3)
        seen += [first.read().pixels.to_ndarray(format="bgr24") for _ in range(2 * FPS)]
        for source in (first, second):
            source.close()
    assert {read_stamp(image) for image in later} < {read_stamp(image) for image in seen}


@pytest.mark.parametrize("server", [rtsp_server, mjpeg_server])
def test_a_camera_ends_with_the_process_that_asked_for_it(server):
    with server() as running:
        running.process.stdin.close()
        assert running.process.wait(10) == 0


def test_a_camera_that_does_not_start_is_said_on_one_line(capfd):
    with pytest.raises(FGDError, match=r"^the camera broken.py did not start"):
        broken = Path("broken.py")
        broken.write_text("raise SystemExit('no')")
        Server(broken, python=sys.executable)
    assert capfd.readouterr().err == "no\n"
