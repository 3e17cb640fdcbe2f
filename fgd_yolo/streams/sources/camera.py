"""A camera of this machine, through OpenCV."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2

from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget, StreamBudget
from fgd_yolo.streams.sources.source import BadFrame, SourceFrame, SourceLost


def check(address: str, budget: PixelBudget) -> None:
    """Accept every number: a camera that is missing may be plugged in later."""


def open_source(address: str, share: StreamBudget, timeout_s: float) -> CameraSource:
    """Open a camera by its number; see `CameraSource`."""
    return CameraSource(int(address), share=share)


class CameraSource:
    """A camera by its number.

    Args:
        index: 0 is the first camera.
        capture: an opened capture with the methods of `cv2.VideoCapture`, instead of that camera.
        share: the stream's share of the pixel budget, checked before the first frame and whenever the size changes.
    Raises:
        SourceLost: there is no such camera, or it cannot be opened.
        ImageTooLargeError: its frames exceed the budget.
    """

    live = True

    def __init__(self, index: int, capture: cv2.VideoCapture | None = None, share: StreamBudget | None = None):
        self._capture, self._share = capture or _open(index), share or PixelBudget().for_stream()
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        self._size = tuple(int(self._capture.get(side) or 0) for side in sides)
        try:
            self._share.check(*self._size)
        except ImageTooLargeError:
            self._capture.release()
            raise
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None

    def read(self) -> SourceFrame:
        if not self._capture.grab():
            raise BadFrame("the camera returned no frame")
        arrived = time.monotonic()
        is_decoded, image = self._capture.retrieve()
        if not is_decoded or image is None or not image.size:
            raise BadFrame("the camera's frame cannot be decoded")
        if image.shape[1::-1] != self._size:
            self._size = image.shape[1::-1]
            try:
                self._share.check(*self._size)
            except ImageTooLargeError as error:
                raise SourceLost(str(error)) from None
        return SourceFrame(image, arrived, time.monotonic(), None)

    def close(self) -> None:
        self._share.release()
        self._capture.release()


def _open(index: int) -> cv2.VideoCapture:
    # Checked first, because OpenCV prints several lines each time it fails.
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
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else frames wait in the driver; drivers without this property ignore it
    return capture
