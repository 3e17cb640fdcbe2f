"""Pictures as a stream: one after the other, each once, in the order of their names."""

from __future__ import annotations

import time
from pathlib import Path

import cv2

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.images import list_images, read_image
from fgd_yolo.streams.sources.source import BadFrame, Picture, SourceEnded, SourceLost


class ImagesSource:
    """A picture, a folder of pictures or a pattern; they have no timing."""

    live = False
    fps = None

    def __init__(self, address: str):
        try:
            self._left = list_images(address)[::-1]
        except UsageError as error:
            raise SourceLost(str(error)) from None

    def read(self) -> Picture:
        if not self._left:
            raise SourceEnded
        path = self._left.pop()
        arrived = time.monotonic()
        image = read_image(path)
        if image is None:
            raise BadFrame(f"{path.name} cannot be read as a picture")
        return Picture(image, arrived, time.monotonic(), None)

    def close(self) -> None:
        self._left.clear()


def holds_pictures(path: Path) -> bool:
    """Say whether a path names pictures: a folder, a pattern, or a file that OpenCV reads as one picture."""
    try:
        if path.is_file():
            return path.suffix.lower() != ".gif" and cv2.haveImageReader(str(path))  # a GIF may move
        return path.is_dir() or any(character in str(path) for character in "*?[")
    except OSError:  # a folder above it is not ours to read
        return False
