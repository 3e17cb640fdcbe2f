"""A time in the pixels, in blocks that survive H.264 and JPEG: a picture's age then includes all of its way.

The system's Python, which runs the RTSP server, imports this file alone: nothing in it needs numpy or the package.
"""

from __future__ import annotations

import time
from pathlib import Path

BLOCK_PX = 20
COLUMNS, ROWS = 16, 4


class Scene:
    """What a camera shows: each picture has the time of its making in its top left corner.

    Args:
        size: width and height in pixels, at least 320 x 80.
        film: a file of raw BGR pictures of that size, shown again and again; None draws a bar that moves.
    """

    def __init__(self, size: tuple[int, int], film: Path | None = None):
        self.size = size
        self._film = film.read_bytes() if film else b""

    def picture(self, index: int) -> bytes:
        """Return the picture of that number, BGR."""
        width, height = self.size
        if not self._film:
            return drawn(width, height, time.monotonic_ns(), index)
        length = 3 * width * height
        start = index * length % len(self._film)
        return stamped(self._film[start : start + length], width, time.monotonic_ns())


def drawn(width_px: int, height_px: int, time_ns: int, index: int = 0) -> bytes:
    """Return a BGR picture of a bar that moves with `index`, and the stamp."""
    bar_px = width_px // 8
    left = index * 4 % (width_px - bar_px)
    line = b"\x40\x70\x60" * left + b"\x30\x30\xe0" * bar_px + b"\x40\x70\x60" * (width_px - bar_px - left)
    return stamped(line * height_px, width_px, time_ns)


def stamped(picture: bytes, width_px: int, time_ns: int) -> bytes:
    """Return a BGR picture with the stamp in its top left corner."""
    marked = bytearray(picture)
    for row in range(ROWS):
        bits = [(time_ns >> (row * COLUMNS + column)) & 1 for column in range(COLUMNS)]
        line = b"".join((b"\xff" if bit else b"\0") * (3 * BLOCK_PX) for bit in bits)
        for y in range(row * BLOCK_PX, (row + 1) * BLOCK_PX):
            start = 3 * width_px * y
            marked[start : start + len(line)] = line
    return bytes(marked)


def read_stamp(image) -> int:
    """Return the time in nanoseconds that stands in a picture (H, W, 3) BGR, by the middle of each block."""
    middle = slice(BLOCK_PX // 2 - 3, BLOCK_PX // 2 + 3)
    blocks = image[: ROWS * BLOCK_PX, : COLUMNS * BLOCK_PX].reshape(ROWS, BLOCK_PX, COLUMNS, BLOCK_PX, 3)
    bright = blocks[:, middle, :, middle].mean(axis=(1, 3, 4)) > 127
    return sum(int(bit) << place for place, bit in enumerate(bright.ravel()))
