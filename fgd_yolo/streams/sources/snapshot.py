"""A single image at an HTTP address: it is read once, and requested again like a camera that was lost."""

from __future__ import annotations

import time

from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.images import UnreadableImageError, decode_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.sources.http import Response
from fgd_yolo.streams.sources.source import BadFrame, SourceFrame, SourceLost

_HEADER_BYTES = 1 << 20  # within which an image must declare its size
_BYTES_PER_PIXEL = 8  # in its file: no format has more


class SnapshotSource:
    """One image of any format that files may have, except JPEG.

    Args:
        response: the server's response; it is closed with the source.
        share: the stream's share of the pixel budget, checked before the rest of the image is read.
        timeout_s: seconds within which the image must be complete.
    """

    live = True
    fps = None

    def __init__(self, response: Response, share: StreamBudget, *, timeout_s: float):
        self._response, self._share, self._timeout_s = response, share, timeout_s
        self._is_read = False

    def read(self) -> SourceFrame:
        if self._is_read:
            raise SourceLost("the connection was closed")
        self._is_read = True
        try:
            data = self._body()
            arrived = time.monotonic()
            image = decode_image(data, self._share.budget)
        except ImageTooLargeError as error:
            raise SourceLost(str(error)) from None
        except UnreadableImageError as error:
            raise BadFrame(f"the image {error}") from None
        return SourceFrame(image, arrived, time.monotonic(), None)

    def close(self) -> None:
        self._share.release()
        self._response.close()

    def _body(self) -> bytes:
        data, limit, start = bytearray(), None, time.monotonic()
        for chunk in self._response.chunks():
            data += chunk
            if limit is None and (header := read_header(bytes(data[:_HEADER_BYTES]))):
                self._share.check(header.width, header.height, header.bytes_per_pixel)
                limit = _HEADER_BYTES + _BYTES_PER_PIXEL * header.width * header.height
            if len(data) > (limit or _HEADER_BYTES):
                raise SourceLost("the image has more bytes than its size allows")
            if time.monotonic() - start > self._timeout_s:
                raise SourceLost(f"the image was not complete after {self._timeout_s:g} s")
        return bytes(data)
