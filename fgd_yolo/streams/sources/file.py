"""A video file, every picture of it."""

from __future__ import annotations

import os

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.sources.decoding import Decoding, pyav, reason_of
from fgd_yolo.streams.sources.source import Picture, SourceEnded, SourceLost


class FileSource:
    """Reads a video file as fast as it is asked to."""

    live = False

    def __init__(self, path: str):
        try:
            # "file:" keeps FFmpeg from taking a name with a colon in it for a protocol.
            self._container = pyav().open(f"file:{path}")
        except pyav().FFmpegError as error:
            raise SourceLost(f"cannot be read: {reason_of(error, path)}") from None
        try:
            self._decoding = Decoding(self._container)
        except SourceEnded as error:
            self._container.close()
            raise SourceLost(str(error)) from None
        rate = self._decoding.stream.average_rate
        self.fps = float(rate) if rate else None

    def read(self) -> Picture:
        try:
            return self._decoding.read()
        except pyav().FFmpegError as error:
            raise SourceLost(f"cannot be read any further: {reason_of(error, '')}") from None

    def close(self) -> None:
        self._container.close()


def check_video(path: str) -> None:
    """Refuse a file that cannot be read as a video.

    Raises:
        UsageError: it does not exist, may not be read or holds no video.
    """
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a folder may not be entered, or a name is odd)
        raise UsageError(f"'{redact(path)}' does not exist: name a video, a picture, a folder, a pattern or an address")
    try:
        FileSource(path).close()
    except SourceLost as error:
        raise UsageError(f"'{redact(path)}' is no video: {error}") from None
