"""The simulated cameras of tests and benchmarks: their frames and times, and that no process remains."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.streams.sources import Source, open_source
from tests.cameras.processes import Server, camera, mjpeg_server
from tests.cameras.pytest_helpers import rtsp_server
from tests.cameras.stamp import read_stamp

FPS = 15


IMAGES = [np.full((240, 320, 3), shade, np.uint8) for shade in (40, 120, 200)]


def read_images(address: str, count: int) -> tuple[Source, list[np.ndarray]]:
    """Open a camera and read a number of frames."""
    source = open_source(address, timeout_s=3)
    return source, [source.read().pixels.to_ndarray(format="bgr24") for _ in range(count)]


@pytest.mark.parametrize(("kind", "server"), [("RTSP", rtsp_server), ("MJPEG", mjpeg_server)])
def test_a_camera_sends_its_images_each_with_its_time(kind, server):
    server().stop()  # skips where GStreamer is not installed
    began = time.monotonic()
    with camera(kind, IMAGES, FPS) as address:
        source, seen = read_images(address, 6)
        source.close()
    assert {round(image[-20:, -20:].mean() / 40) for image in seen} == {1, 3, 5}
    times = [read_stamp(image) / 1e9 for image in seen]
    assert began < times[0] and times[-1] < time.monotonic()
    assert times == sorted(set(times))


def test_all_clients_of_a_camera_over_rtsp_receive_the_same_frames():
    rtsp_server().stop()  # skips where GStreamer is not installed
    with camera("RTSP", IMAGES, FPS) as address:
        first, seen = read_images(address, 1)
        second, later = read_images(address, 3)
        seen += [first.read().pixels.to_ndarray(format="bgr24") for _ in range(2 * FPS)]
        for source in (first, second):
            source.close()
    assert {read_stamp(image) for image in later} < {read_stamp(image) for image in seen}


@pytest.mark.parametrize("server", [rtsp_server, mjpeg_server])
def test_a_camera_stops_with_the_process_that_started_it(server):
    with server() as running:
        running.process.stdin.close()
        assert running.process.wait(10) == 0


def test_a_camera_that_does_not_start_is_an_error_of_one_line(capfd):
    with pytest.raises(FGDError, match=r"^the server broken.py did not start"):
        broken = Path("broken.py")
        broken.write_text("raise SystemExit('no')")
        Server(broken, python=sys.executable)
    assert capfd.readouterr().err == "no\n"
