"""Limit the size of images, before one is decoded and for all streams of a process together."""

from __future__ import annotations

import math
import threading
from numbers import Real

from fgd_yolo.errors import FGDError, UsageError

DEFAULT_MEGAPIXELS = 150.0
"""Enough for a photo of 108 or 150 megapixels, 18 cameras of 3840 x 2160 px, or 72 of 1920 x 1080 px."""

_BYTES_PER_PIXEL = 6  # what OpenCV needs to decode most formats; for a format that needs more, fewer pixels are allowed


class ImageTooLargeError(FGDError):
    """An image exceeds the budget; the message has its size and what to do."""


class PixelBudget:
    """The maximum pixels and bytes of one image, and the maximum pixels of all streams together.

    Args:
        megapixels: maximum number of pixels, in millions. Decoding an image may take six bytes for each of them, and
            its file may be as large.
    Raises:
        UsageError: the limit is not a number above 0.
    """

    def __init__(self, megapixels: float = DEFAULT_MEGAPIXELS):
        if isinstance(megapixels, bool) or not isinstance(megapixels, Real) or not 0 < megapixels < math.inf:
            raise UsageError(f"max_megapixels must be a number above 0, got {megapixels!r}")
        self.pixels = max(1, int(megapixels * 1e6))
        self.bytes = self.pixels * _BYTES_PER_PIXEL
        self._lock = threading.Lock()
        self._stream_pixels: dict[StreamBudget, int] = {}

    def check(self, width: int, height: int, bytes_per_pixel: float = _BYTES_PER_PIXEL) -> None:
        """Check the size of an image.

        Args:
            width: in pixels.
            height: in pixels.
            bytes_per_pixel: what the decoder needs for each pixel.
        Raises:
            ImageTooLargeError: the image has too many pixels or needs too many bytes.
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
        """Check the length of an image file.

        Raises:
            ImageTooLargeError: the file has too many bytes.
        """
        if count > self.bytes:
            raise ImageTooLargeError(
                f"{count / 1e6:.4g} MB are above the limit of {self.bytes / 1e6:g} for an image; raise "
                "--max-megapixels if that is intended"
            )

    def for_stream(self) -> StreamBudget:
        """Return the budget of a new stream, which has no frame yet."""
        return StreamBudget(self)


class StreamBudget:
    """The part of a budget that one open stream uses. Thread-safe."""

    def __init__(self, budget: PixelBudget):
        self.budget = budget

    def check(self, width: int, height: int, bytes_per_pixel: float = _BYTES_PER_PIXEL) -> None:
        """Check the size of a frame, and record it as the size of this stream.

        Raises:
            ImageTooLargeError: one frame of that size is too large, or all streams together are.
        """
        budget, pixels = self.budget, width * height
        budget.check(width, height, bytes_per_pixel)
        with budget._lock:
            total = sum(budget._stream_pixels.values()) - budget._stream_pixels.get(self, 0) + pixels
            if total > budget.pixels:
                raise ImageTooLargeError(
                    f"with its {width} x {height} px the streams would have {total / 1e6:.4g} megapixels together, "
                    f"above the limit of {budget.pixels / 1e6:g}; remove a stream or raise --max-megapixels"
                )
            budget._stream_pixels[self] = pixels

    def release(self) -> None:
        """Return this stream's pixels to the budget."""
        with self.budget._lock:
            self.budget._stream_pixels.pop(self, None)
