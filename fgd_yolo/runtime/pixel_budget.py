"""How large pictures may be: asked before one is decoded, and shared by all streams of a process."""

from __future__ import annotations

import math
import threading
from numbers import Real

from fgd_yolo.errors import FGDError, UsageError

DEFAULT_MEGAPIXELS = 150.0
"""The default: a photo of 108 or 150 megapixels, 18 cameras of 3840 x 2160 px, 72 of 1920 x 1080 px."""

_BYTES_PER_PIXEL = 6  # OpenCV decodes most formats with so many; what needs more may have fewer pixels


class ImageTooLargeError(FGDError):
    """A picture is above the budget; the text says how large it is and what to do."""


class PixelBudget:
    """The most pixels, and the most bytes, of one picture, and of all streams together.

    Args:
        megapixels: the most pixels, in millions. A picture may take six bytes for each of them while it is decoded, and
            its file may have as many bytes.
    Raises:
        UsageError: not a number above 0.
    """

    def __init__(self, megapixels: float = DEFAULT_MEGAPIXELS):
        if isinstance(megapixels, bool) or not isinstance(megapixels, Real) or not 0 < megapixels < math.inf:
            raise UsageError(f"the limit is {megapixels!r} megapixels, but must be a number above 0")
        self.pixels = max(1, int(megapixels * 1e6))
        self.bytes = self.pixels * _BYTES_PER_PIXEL
        self._lock = threading.Lock()
        self._shares: dict[StreamBudget, int] = {}

    def check(self, width: int, height: int, bytes_per_pixel: float = _BYTES_PER_PIXEL) -> None:
        """Refuse a picture by its size.

        Args:
            width: in pixels.
            height: in pixels.
            bytes_per_pixel: what the decoder needs for each of them.
        Raises:
            ImageTooLargeError: it has too many pixels or needs too many bytes.
        """
        pixels = width * height
        if pixels > self.pixels:
            raise ImageTooLargeError(
                f"{width} x {height} px are {pixels / 1e6:.6g} megapixels, above the limit of {self.pixels / 1e6:g}; "
                "raise --max-megapixels if that is intended"
            )
        if pixels * bytes_per_pixel > self.bytes:
            raise ImageTooLargeError(
                f"{width} x {height} px of this format take {pixels * bytes_per_pixel / 1e6:.4g} MB to decode, above "
                f"the limit of {self.bytes / 1e6:g}; raise --max-megapixels if that is intended"
            )

    def check_bytes(self, count: int) -> None:
        """Refuse a file by its length.

        Raises:
            ImageTooLargeError: it has more bytes than a picture may have.
        """
        if count > self.bytes:
            raise ImageTooLargeError(
                f"{count / 1e6:.4g} MB are above the limit of {self.bytes / 1e6:g} for a picture; raise "
                "--max-megapixels if that is intended"
            )

    def for_stream(self) -> StreamBudget:
        """Return a stream's share, which counts nothing yet."""
        return StreamBudget(self)


class StreamBudget:
    """What one open stream takes of a budget. Any thread may call."""

    def __init__(self, budget: PixelBudget):
        self.budget = budget

    def check(self, width: int, height: int, bytes_per_pixel: float = _BYTES_PER_PIXEL) -> None:
        """Count a picture's size as this stream's, instead of the last one.

        Raises:
            ImageTooLargeError: one picture of that size is too large, or all streams together are.
        """
        budget, pixels = self.budget, width * height
        budget.check(width, height, bytes_per_pixel)
        with budget._lock:
            together = sum(budget._shares.values()) - budget._shares.get(self, 0) + pixels
            if together > budget.pixels:
                raise ImageTooLargeError(
                    f"with its {width} x {height} px the streams would have {together / 1e6:.4g} megapixels together, "
                    f"above the limit of {budget.pixels / 1e6:g}; remove a stream or raise --max-megapixels"
                )
            budget._shares[self] = pixels

    def release(self) -> None:
        """Count nothing for this stream any more."""
        with self.budget._lock:
            self.budget._shares.pop(self, None)
