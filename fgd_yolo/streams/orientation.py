"""Turning a video's picture as its display matrix asks, as every player does."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import av

_FLIPS = {(True, False): 1, (False, True): 0, (True, True): -1}  # (left-right, top-bottom) to the code of cv2.flip
_SKEW = 0.1


def display_matrix(picture: av.VideoFrame) -> bytes | None:
    """Return the display matrix on a decoded picture, None if it has none.

    FFmpeg puts it there from the file (MP4, MOV, Matroska), the video itself (H.264, HEVC) or the EXIF note of a JPEG.
    """
    try:
        found = picture.side_data.get("DISPLAYMATRIX")
        return None if found is None else bytes(found)
    except ValueError:  # PyAV gives up where any other side data is newer than it is, such as EXIF
        degrees = picture.rotation  # to the left; mirrors are lost
    if not degrees:
        return None
    a, c = (round(one * (1 << 16)) for one in (math.cos(math.radians(degrees)), math.sin(math.radians(degrees))))
    return struct.pack("=9i", a, -c, 0, c, a, 0, 0, 0, 1 << 30)


def turned(image: np.ndarray, matrix: bytes) -> np.ndarray:
    """Turn and mirror a picture by quarters, as its display matrix says.

    Convention:
        A point (x, y) of the stored picture is shown at (a x + c y, b x + d y), with y downwards; the corner is moved
        back to (0, 0). Other angles than quarters leave the picture as it is stored, as OpenCV does. Oblong pixels stay
        oblong, for OpenCV and Ultralytics too; a recording says that they are.
    Args:
        image: (H, W, 3).
        matrix: nine 32-bit integers a, b, u, c, d, v, x, y, w of this machine's byte order, as FFmpeg keeps them.
    Returns:
        (H, W, 3), or (W, H, 3) after a quarter turn; contiguous.
    Source:
        ISO/IEC 14496-12, 6.2.2 (track header); FFmpeg, libavutil/display.h.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    if swaps_sides(matrix):
        image, flips = cv2.transpose(image), (c < 0, b < 0)
    elif max(abs(b), abs(c)) <= _SKEW * min(abs(a), abs(d)):
        flips = (a < 0, d < 0)
    else:
        return image
    return cv2.flip(image, _FLIPS[flips]) if flips in _FLIPS else image


def swaps_sides(matrix: bytes) -> bool:
    """Say whether a display matrix makes the height of a picture its width."""
    a, b, _, c, d, *_ = map(abs, struct.unpack("=9i", matrix))
    return max(a, d) <= _SKEW * min(b, c) and min(b, c) > 0
