"""An animated WebP or AVIF, every picture of it, through Pillow: FFmpeg does not play WebP, nor turn AVIF."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo.errors import one_line
from fgd_yolo.runtime.image_headers import read_header
from fgd_yolo.runtime.pixel_budget import StreamBudget
from fgd_yolo.streams.sources.source import BadFrame, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.sources.timestamps import USUAL_FPS

_BYTES_PER_PIXEL = 14  # two canvases with alpha, and the picture before and after it is turned into BGR


class AnimationSource:
    """Reads an animated picture as fast as it is asked to; one without times takes FFmpeg's usual rate.

    Raises:
        SourceLost: it cannot be read.
        ImageTooLargeError: it is above the budget.
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
            self._image = _opener(path)(path)
        except Exception as error:  # a decoder throws anything at a damaged file
            raise SourceLost(f"cannot be read: {one_line(error)}") from None
        self._index, self._time_s = 0, 0.0

    def read(self) -> SourceFrame:
        if self._index >= self._image.n_frames:
            raise SourceEnded
        arrived, number = time.monotonic(), self._index + 1
        try:
            self._image.seek(self._index)
            picture = np.ascontiguousarray(np.asarray(self._image.convert("RGB"))[..., ::-1])
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise BadFrame(f"picture {number} cannot be read: {one_line(error)}") from None
        finally:
            self._index = number
        pts = self._time_s
        self._time_s += (self._image.info.get("duration") or 1000 / USUAL_FPS) / 1000
        return SourceFrame(picture, arrived, time.monotonic(), pts)

    def close(self) -> None:
        self._share.release()
        self._image.close()


def _opener(path: str) -> type[Any]:
    """Return Pillow's own class for the file. `Image.open` would go by a limit of pixels of its own."""
    from PIL.AvifImagePlugin import AvifImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    with Path(path).open("rb") as file:
        return WebPImageFile if file.read(4) == b"RIFF" else AvifImageFile
