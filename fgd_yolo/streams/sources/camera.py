"""A camera on this machine, through OpenCV."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2

from fgd_yolo.streams.sources.source import BadFrame, Picture, SourceLost


class CameraSource:
    """A camera by its number.

    Args:
        index: 0 is the first one.
        capture: an opened capture with the methods of `cv2.VideoCapture`, instead of that camera.
    Raises:
        SourceLost: there is none, or it cannot be opened.
    """

    live = True

    def __init__(self, index: int, capture: cv2.VideoCapture | None = None):
        self._capture = capture or _open(index)
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None

    def read(self) -> Picture:
        if not self._capture.grab():
            raise BadFrame("the camera gave no picture")
        arrived = time.monotonic()
        found, image = self._capture.retrieve()
        if not found or image is None or not image.size:
            raise BadFrame("the camera's picture cannot be decoded")
        return Picture(image, arrived, time.monotonic(), None)

    def close(self) -> None:
        self._capture.release()


def _open(index: int) -> cv2.VideoCapture:
    # Asked first, because OpenCV prints several lines each time it is refused.
    if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
        raise SourceLost(f"there is no camera {index} (/dev/video{index} does not exist)")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise SourceLost(f"camera {index} cannot be opened: is another program using it?")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else frames wait in the driver; where it is unknown nothing happens
    return capture
