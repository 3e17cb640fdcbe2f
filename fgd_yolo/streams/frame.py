"""What travels: a frame with its times, and what was found on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fgd_yolo.streams.orientation import turned

if TYPE_CHECKING:
    from fractions import Fraction

    import av

    from fgd_yolo.runtime.detections import Detections
    from fgd_yolo.streams.stats import StreamStats

_own = threading.local()


@dataclass(slots=True, eq=False)
class Frame:
    """One picture of a stream.

    A decoder's own picture is converted only when somebody wants to see it, so that a frame that is dropped costs
    its decoding and no more.

    Convention:
        `arrived` and `decoded` are `time.monotonic()` in seconds, taken after the bytes, and then the picture, were
        there: waiting for a camera is no age.
    Args:
        stream: the stream's name.
        index: counts the frames that the stream's reader has seen, from 0.
        picture: (H, W, 3) BGR uint8, or a decoder's picture that is not yet converted.
        arrived: when the bytes were there.
        decoded: when the picture was there.
        pts: the source's own time in seconds from its first frame, None if it keeps none.
        matrix: the display matrix of a decoder's picture, see `upright`; None where it is upright.
        aspect: the width of an upright picture's pixel by its height, None where it is square or not known.
    """

    stream: str
    index: int
    picture: np.ndarray | av.VideoFrame
    arrived: float
    decoded: float
    pts: float | None = None
    matrix: bytes | None = None
    aspect: Fraction | None = None

    def image(self) -> np.ndarray:
        """Return the picture (H, W, 3) BGR uint8, upright as a player shows it; the decoder's own is let go."""
        if not isinstance(self.picture, np.ndarray):
            image = _to_bgr(self.picture)
            self.picture = image if self.matrix is None else turned(image, self.matrix)
        return self.picture

    @property
    def nbytes(self) -> int:
        """The memory that the picture takes at the moment."""
        if isinstance(self.picture, np.ndarray):
            return self.picture.nbytes
        return sum(plane.buffer_size for plane in self.picture.planes)


@dataclass(slots=True, eq=False)
class Result:
    """What was found on a frame. `ids` are its track ids (n,), set by a tracker; `zones` what is in them, as JSON.

    `stats` are those of its stream, which another one of the same name may have followed since.

    Convention:
        `infer_start` and `infer_end` are on the frame's clock and enclose the run of the network alone.
    """

    frame: Frame
    detections: Detections
    infer_start: float
    infer_end: float
    ids: np.ndarray | None = None
    zones: dict[str, Any] | None = None
    stats: StreamStats | None = field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """The memory that its picture and its masks take at the moment."""
        masks = self.detections.masks
        return self.frame.nbytes + (0 if masks is None else masks.nbytes)


def _to_bgr(picture: av.VideoFrame) -> np.ndarray:
    """Convert and turn upright, with what the thread keeps for that: a new one, with threads, costs as much again."""
    if not hasattr(_own, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _own.reformatter = VideoReformatter()
    return _own.reformatter.reformat(picture, format="bgr24", threads=1).to_ndarray()
