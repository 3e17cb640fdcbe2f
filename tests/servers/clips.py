"""Short H.264 files for tests, every picture of which tells its number."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fgd_yolo.analysis.stamp import drawn, read_stamp

SIZE = (320, 240)


def write_clip(
    path: Path, frames: int = 30, fps: int = 15, size: tuple[int, int] = SIZE, left_out: Collection[int] = ()
) -> Path:
    """Write an H.264 file of so many pictures, but for some; one that is MP4 can be read while it arrives."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        track = container.add_stream("libx264", rate=fps, options={"crf": "18", "g": str(fps)})
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        for index in sorted(set(range(frames)) - set(left_out)):
            picture = np.frombuffer(drawn(*size, index, index), np.uint8).reshape(size[1], size[0], 3)
            frame = av.VideoFrame.from_ndarray(picture, "bgr24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def number(picture) -> int:
    """Return the number that a picture of such a file tells."""
    return read_stamp(picture.to_ndarray(format="bgr24"))
