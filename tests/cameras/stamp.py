"""A time stamp in the pixels, in blocks that survive H.264 and JPEG, so that the age of a frame includes its transport.

The system's interpreter, which runs the RTSP server, imports this file: it must need neither numpy nor the package.
"""

from __future__ import annotations

import time
from pathlib import Path

BLOCK_PX = 20
COLUMNS, ROWS = 16, 4


class Scene:
    """The frames of a camera, each with its time of capture in the top left corner.

    Args:
        size: width and height in pixels, at least 320 x 80.
        raw_video: a file of raw BGR frames of that size, repeated forever; None draws a moving bar.
    """

    def __init__(self, size: tuple[int, int], raw_video: Path | None = None):
        self.size = size
        self._frames = raw_video.read_bytes() if raw_video else b""

    def frame(self, index: int) -> bytes:
        """Return the frame of an index as BGR bytes."""
        width, height = self.size
        if not self._frames:
            return draw_frame(width, height, time.monotonic_ns(), index)
        length = 3 * width * height
        start = index * length % len(self._frames)
        return add_stamp(self._frames[start : start + length], width, time.monotonic_ns())


def draw_frame(width_px: int, height_px: int, time_ns: int, index: int = 0) -> bytes:
    """Return a stamped BGR frame of a bar that moves with the index."""
    bar_px = width_px // 8
    left = index * 4 % (width_px - bar_px)
    line = b"\x40\x70\x60" * left + b"\x30\x30\xe0" * bar_px + b"\x40\x70\x60" * (width_px - bar_px - left)
    return add_stamp(line * height_px, width_px, time_ns)


def add_stamp(frame: bytes, width_px: int, time_ns: int) -> bytes:
    """Return a BGR frame with the stamp in its top left corner."""
    stamped = bytearray(frame)
    for row in range(ROWS):
        bits = [(time_ns >> (row * COLUMNS + column)) & 1 for column in range(COLUMNS)]
        line = b"".join((b"\xff" if bit else b"\0") * (3 * BLOCK_PX) for bit in bits)
        for y in range(row * BLOCK_PX, (row + 1) * BLOCK_PX):
            start = 3 * width_px * y
            stamped[start : start + len(line)] = line
    return bytes(stamped)


def read_stamp(image) -> int:
    """Return the time in nanoseconds from the stamp of a frame (H, W, 3) BGR, read in the centre of each block."""
    middle = slice(BLOCK_PX // 2 - 3, BLOCK_PX // 2 + 3)
    blocks = image[: ROWS * BLOCK_PX, : COLUMNS * BLOCK_PX].reshape(ROWS, BLOCK_PX, COLUMNS, BLOCK_PX, 3)
    bright = blocks[:, middle, :, middle].mean(axis=(1, 3, 4)) > 127
    return sum(int(bit) << place for place, bit in enumerate(bright.ravel()))
