"""A single picture at an HTTP address: it is shown once, and asked for again as a camera that was lost is."""

from __future__ import annotations

import time

from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.images import UnreadableImageError, decode_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.sources.http import Answer
from fgd_yolo.streams.sources.source import BadFrame, SourceFrame, SourceLost

_HEADER_BYTES = 1 << 20  # in which a picture must tell its size
_BYTES_PER_PIXEL = 8  # of its file: no format has more


class StillSource:
    """One picture of any format that files may have, except JPEG.

    Args:
        answer: of the server; it is closed with the source.
        share: asked before the rest of the picture is read.
        timeout_s: the picture must be there in that time.
    """

    live = True
    fps = None

    def __init__(self, answer: Answer, share: StreamBudget, *, timeout_s: float):
        self._answer, self._share, self._timeout_s = answer, share, timeout_s
        self._read = False

    def read(self) -> SourceFrame:
        if self._read:
            raise SourceLost("the connection was closed")
        self._read = True
        try:
            data = self._body()
            arrived = time.monotonic()
            image = decode_image(data, self._share.budget)
        except ImageTooLargeError as error:
            raise SourceLost(str(error)) from None
        except UnreadableImageError as error:
            raise BadFrame(f"the picture {error}") from None
        return SourceFrame(image, arrived, time.monotonic(), None)

    def close(self) -> None:
        self._share.release()
        self._answer.close()

    def _body(self) -> bytes:
        data, limit, began = bytearray(), None, time.monotonic()
        for piece in self._answer.pieces():
            data += piece
            if limit is None and (header := read_header(bytes(data[:_HEADER_BYTES]))):
                self._share.check(header.width, header.height, header.bytes_per_pixel)
                limit = _HEADER_BYTES + _BYTES_PER_PIXEL * header.width * header.height
            if len(data) > (limit or _HEADER_BYTES):
                raise SourceLost("a picture is longer than it can be")
            if time.monotonic() - began > self._timeout_s:
                raise SourceLost(f"no whole picture for {self._timeout_s:g} s")
        return bytes(data)
