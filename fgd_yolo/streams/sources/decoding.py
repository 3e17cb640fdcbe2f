"""Reading a video through PyAV, picture by picture, with honest stamps."""

from __future__ import annotations

import time
from collections import deque
from types import ModuleType
from typing import Any

from fgd_yolo.errors import FGDError, whole_line
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.sources.source import BadFrame, Picture, SourceEnded
from fgd_yolo.text import single_line


def pyav() -> ModuleType:
    """Return the package `av`, imported on first use.

    Raises:
        FGDError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise FGDError("av is not installed, which reads videos; run pip install 'fgd_yolo[stream]'") from None
    return av


def reason_of(error: Exception, address: str = "") -> str:
    """Return what FFmpeg says about an address, on one line and without its secrets."""
    text = getattr(error, "strerror", None) or whole_line(error)
    return single_line(redact(f"{text[:1].lower()}{text[1:]}", address))


_JPEG_END = b"\xff\xd9"
_JPEG_PADDING = 1024


class Decoding:
    """The first video track of an opened container.

    Every packet is decoded, since H.264 pictures need the ones before them; nothing is converted. A picture that the
    decoder had to make up in part is a bad one.

    Args:
        container: it stays the caller's, who closes it.
        whole_jpegs: a JPEG without its end is a bad picture; else the decoder fills the missing part with grey.
    Raises:
        SourceEnded: there is no video in it.
    """

    def __init__(self, container: Any, *, whole_jpegs: bool = False):
        self._container = container
        if not container.streams.video:
            raise SourceEnded("there is no video in it")
        self.stream = container.streams.video[0]
        # More threads decode no stream faster that is one of several, and cost time themselves.
        self.stream.codec_context.thread_count = 1
        self._whole_jpegs = whole_jpegs and self.stream.codec_context.name == "mjpeg"
        self._packets = container.demux(self.stream)
        self._ready: deque[Picture] = deque()
        self._first_pts: float | None = None

    def read(self) -> Picture:
        """Return the next picture.

        Raises:
            SourceEnded: the container has no more.
            BadFrame: a packet cannot be decoded.
            av.FFmpegError: the container cannot be read any further.
        """
        while not self._ready:
            packet = next(self._packets, None)
            if packet is None:
                raise SourceEnded
            arrived = time.monotonic()
            if self._whole_jpegs and packet.size and _JPEG_END not in bytes(memoryview(packet)[-_JPEG_PADDING:]):
                raise BadFrame("a JPEG is cut off")
            try:
                frames = packet.decode()
            except pyav().error.InvalidDataError as error:
                raise BadFrame(reason_of(error)) from None
            decoded = time.monotonic()
            self._ready.extend(Picture(frame, arrived, decoded, self._seconds(frame)) for frame in frames)
        picture = self._ready.popleft()
        if picture.picture.is_corrupt:
            raise BadFrame("a picture is damaged")
        return picture

    def _seconds(self, frame) -> float | None:
        if frame.time is None:
            return None
        if self._first_pts is None:
            self._first_pts = frame.time
        return frame.time - self._first_pts
