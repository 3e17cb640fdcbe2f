"""What every source of pictures promises, and the three ways in which it says that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from fractions import Fraction

    import av
    import numpy as np


class SourceFrame(NamedTuple):
    """One picture as a source gives it.

    Convention:
        `pixels` is (H, W, 3) BGR uint8, or a frame of PyAV that nobody has converted yet. `arrived` and `decoded` are
        `time.monotonic()`, taken after the bytes and after the picture were there. `pts` is the source's own timing in
        seconds since the first picture that has one, else None: over RTSP the very first picture often has none.
        `matrix` is the display matrix by which it is turned upright, see `upright`; None where it is so already.
        `aspect` is the width of an upright picture's pixel by its height, None where it is square or not known.
    """

    pixels: np.ndarray | av.VideoFrame
    arrived: float
    decoded: float
    pts: float | None
    matrix: bytes | None = None
    aspect: Fraction | None = None


class Source(Protocol):
    """One camera or file, opened. Only the thread that reads may close it: anything else crashes the process."""

    live: bool
    fps: float | None

    def read(self) -> SourceFrame:
        """Wait for the next picture and return it.

        Raises:
            SourceEnded: a file's last picture was read, or a scene's time is up.
            SourceLost: it is gone and must be opened again.
            BadFrame: one picture cannot be decoded; the next one may be fine.
        """

    def close(self) -> None:
        """Let go of the camera or file."""


class SourceEnded(Exception):
    """There are no more pictures, and there should be none."""


class SourceLost(Exception):
    """The source is gone; the text is the reason, without secrets."""


class BadFrame(Exception):
    """One picture cannot be decoded."""
