"""A time in the pixels, in blocks that survive H.264 and JPEG: a picture's age then includes all of its way."""

from __future__ import annotations

BLOCK_PX = 20
COLUMNS, ROWS = 16, 4


def drawn(width_px: int, height_px: int, time_ns: int, index: int = 0) -> bytes:
    """Return a BGR picture: the stamp in its top left corner, and below it a bar that moves with `index`.

    It needs no numpy, since the system's Python that runs the RTSP server may have none.
    """
    beside = b"\x60" * (3 * (width_px - COLUMNS * BLOCK_PX))
    lines = []
    for row in range(ROWS):
        bits = [(time_ns >> (row * COLUMNS + column)) & 1 for column in range(COLUMNS)]
        lines.append((b"".join((b"\xff" if bit else b"\0") * (3 * BLOCK_PX) for bit in bits) + beside) * BLOCK_PX)
    bar_px = width_px // 8
    left = index * 4 % (width_px - bar_px)
    line = b"\x40\x70\x60" * left + b"\x30\x30\xe0" * bar_px + b"\x40\x70\x60" * (width_px - bar_px - left)
    return b"".join(lines) + line * (height_px - ROWS * BLOCK_PX)


def read_stamp(image) -> int:
    """Return the time in nanoseconds that stands in a BGR picture."""
    middle = BLOCK_PX // 2
    time_ns = 0
    for place in range(ROWS * COLUMNS):
        row, column = divmod(place, COLUMNS)
        block = image[row * BLOCK_PX + middle - 3 : row * BLOCK_PX + middle + 3]
        bright = block[:, column * BLOCK_PX + middle - 3 : column * BLOCK_PX + middle + 3].mean() > 127
        time_ns |= int(bright) << place
    return time_ns
