"""Machines that run tests have no camera, so a capture is passed in."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from fgd_yolo.streams.sources import BadFrame, SourceLost
from fgd_yolo.streams.sources import camera as camera_module
from fgd_yolo.streams.sources.camera import CameraSource

GOOD = (True, np.zeros((4, 4, 3), np.uint8))


class Capture:
    def __init__(self, grabbed=True, retrieved=GOOD, fps=30.0):
        self.grabbed, self.retrieved, self.fps = grabbed, retrieved, fps
        self.grabbed_at, self.released_by = None, None

    def get(self, key):
        return self.fps if key == cv2.CAP_PROP_FPS else 0.0

    def grab(self):
        time.sleep(0.02)
        self.grabbed_at = time.monotonic()
        return self.grabbed

    def retrieve(self):
        time.sleep(0.02)
        return self.retrieved

    def release(self):
        self.released_by = threading.current_thread()


def test_a_frame_is_stamped_after_it_arrived_and_after_it_was_decoded():
    capture = Capture()
    frame = CameraSource(0, capture).read()
    assert capture.grabbed_at <= frame.arrived < frame.decoded - 0.01
    assert frame.pixels.shape == (4, 4, 3) and frame.pts is None


def test_no_frame_and_one_that_cannot_be_decoded_are_bad_frames():
    for capture in (Capture(grabbed=False), Capture(retrieved=(False, None)), Capture(retrieved=(True, np.empty(0)))):
        with pytest.raises(BadFrame):
            CameraSource(0, capture).read()


def test_an_unknown_rate_is_none_and_closing_releases():
    capture = Capture(fps=0.0)
    source = CameraSource(0, capture)
    assert (source.fps, source.live) == (None, True)
    source.close()
    assert capture.released_by is threading.current_thread()


def test_a_camera_that_opencv_cannot_open_is_lost_without_output_of_opencv(monkeypatch, capfd):
    monkeypatch.setattr(camera_module.sys, "platform", "other")  # where no file lists the cameras
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(SourceLost, match="another program"):
        CameraSource(63)
    assert capfd.readouterr() == ("", "")
    assert cv2.utils.logging.getLogLevel() == level
