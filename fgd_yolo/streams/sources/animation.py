"""An animated WebP or AVIF file, through Pillow: FFmpeg does not play WebP and does not rotate AVIF."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo.errors import one_line
from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.pixel_budget import StreamBudget
from fgd_yolo.streams.sources.source import BadFrame, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.sources.timestamps import DEFAULT_FPS

_BYTES_PER_PIXEL = 14  # two canvases with alpha, and the frame before and after its conversion to BGR


class AnimationSource:
    """Reads an animated image as fast as it is asked to; one without times gets FFmpeg's default rate.

    Raises:
        SourceLost: it cannot be read.
        ImageTooLargeError: it exceeds the budget.
    """

    live = False
    fps = None

    def __init__(self, path: str, share: StreamBudget):
        self._share = share
        try:
            share.budget.check_bytes(Path(path).stat().st_size)
            header = read_header(Path(path).read_bytes())
            if header is None:
                raise SourceLost("cannot be read: its header is damaged")
            share.check(header.width, header.height, _BYTES_PER_PIXEL)
        except OSError as error:
            raise SourceLost(f"cannot be read: {one_line(error)}") from None
        try:
            self._image = _image_class(path)(path)
        except Exception as error:  # a decoder raises anything at a damaged file
            raise SourceLost(f"cannot be read: {one_line(error)}") from None
        self._index, self._time_s = 0, 0.0

    def read(self) -> SourceFrame:
        if self._index >= self._image.n_frames:
            raise SourceEnded
        arrived, number = time.monotonic(), self._index + 1
        try:
            self._image.seek(self._index)
            pixels = np.ascontiguousarray(np.asarray(self._image.convert("RGB"))[..., ::-1])
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise BadFrame(f"frame {number} cannot be read: {one_line(error)}") from None
        finally:
            self._index = number
        pts = self._time_s
        self._time_s += (self._image.info.get("duration") or 1000 / DEFAULT_FPS) / 1000
        return SourceFrame(pixels, arrived, time.monotonic(), pts)

    def close(self) -> None:
        self._share.release()
        self._image.close()


def _image_class(path: str) -> type[Any]:
    """Return Pillow's class for the file; `Image.open` would apply a pixel limit of its own."""
    from PIL.AvifImagePlugin import AvifImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    with Path(path).open("rb") as file:
        return WebPImageFile if file.read(4) == b"RIFF" else AvifImageFile
