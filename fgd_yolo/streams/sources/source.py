"""The interface of a source, and the three exceptions that it raises instead of returning a frame."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:  # optional: installed with the extra `stream`
    import av


FIRST_FRAME_TIMEOUT_S = 15.0
"""How long a stream may take until its first frame, since key frames may be far apart."""


class SourceFrame(NamedTuple):
    """One frame as a source returns it.

    Convention:
        `pixels` is (H, W, 3) BGR uint8, (H, W, C) of an image file that was read for a model of C channels, or a frame
        of PyAV that is not converted yet. `arrived` and `decoded` are `time.monotonic()`, taken when the bytes had been
        received and when the frame had been decoded. `pts` is the source's own time in seconds since the first frame
        that has one, else None: over RTSP the very first frame often has none. `matrix` is the display matrix that
        turns the frame upright, see `orientation`; None if it is upright. `aspect` is the width of an upright frame's
        pixel divided by its height, None if it is square or unknown.
    """

    pixels: np.ndarray | av.VideoFrame
    arrived: float
    decoded: float
    pts: float | None
    matrix: bytes | None = None
    aspect: Fraction | None = None


class Source(Protocol):
    """An opened camera, stream or file. Only the thread that reads may close it: anything else crashes the process."""

    live: bool
    fps: float | None

    def read(self) -> SourceFrame:
        """Wait for the next frame and return it.

        Raises:
            SourceEnded: the last frame of a file was read, or the time of a scene is up.
            SourceLost: the source is gone and must be opened again.
            BadFrame: a frame cannot be decoded; the next one may be fine.
        """

    def close(self) -> None:
        """Release the camera or file."""


class SourceEnded(Exception):
    """There are no more frames, as expected."""


class SourceLost(Exception):
    """The source is gone; the message says why, without secrets."""


class BadFrame(Exception):
    """One frame cannot be decoded."""
