"""Rotates and mirrors the frames of a video by its display matrix, as players do."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:  # optional: installed with the extra `stream`
    import av

_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}  # (left-right, top-bottom) to that of cv2.flip
_MAX_SKEW = 0.1


def display_matrix(frame: av.VideoFrame) -> bytes | None:
    """Return the display matrix of a decoded frame, None if it has none.

    FFmpeg reads it from the container (MP4, MOV, Matroska), the video itself (H.264, HEVC) or the EXIF data of a JPEG.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
        return None if matrix is None else bytes(matrix)
    except ValueError:  # PyAV raises where other side data is of a kind that it does not know, such as EXIF
        degrees = frame.rotation  # counterclockwise; mirroring is lost
    if not degrees:
        return None
    a, c = (round(value * (1 << 16)) for value in (math.cos(math.radians(degrees)), math.sin(math.radians(degrees))))
    return struct.pack("=9i", a, -c, 0, c, a, 0, 0, 0, 1 << 30)


def apply_display_matrix(image: np.ndarray, matrix: bytes) -> np.ndarray:
    """Rotate an image by quarter turns and mirror it, as its display matrix says.

    Convention:
        A point (x, y) of the stored image is shown at (a x + c y, b x + d y), with y downwards; the corner is moved
        back to (0, 0). For angles other than quarter turns the image stays as it is stored, as in OpenCV. Pixels that
        are not square stay so, as in OpenCV and Ultralytics; a recording notes their aspect ratio.
    Args:
        image: (H, W, 3).
        matrix: nine 32-bit integers a, b, u, c, d, v, x, y, w in this machine's byte order, as FFmpeg stores them.
    Returns:
        (H, W, 3), or (W, H, 3) after a quarter turn; contiguous.
    Source:
        ISO/IEC 14496-12, 6.2.2 (track header); FFmpeg, libavutil/display.h.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    if swaps_sides(matrix):
        image, flips = cv2.transpose(image), (c < 0, b < 0)
    elif max(abs(b), abs(c)) <= _MAX_SKEW * min(abs(a), abs(d)):
        flips = (a < 0, d < 0)
    else:
        return image
    return cv2.flip(image, _FLIP_CODES[flips]) if flips in _FLIP_CODES else image


def swaps_sides(matrix: bytes) -> bool:
    """Whether a display matrix turns the height of an image into its width."""
    a, b, _, c, d, *_ = map(abs, struct.unpack("=9i", matrix))
    return max(a, d) <= _MAX_SKEW * min(b, c) and min(b, c) > 0
