"""What travels through a pipeline: a frame with its times, and the result of the detector on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from fgd_yolo.runtime.detections import Detections
from fgd_yolo.streams.orientation import apply_display_matrix
from fgd_yolo.streams.stats import StreamStats

if TYPE_CHECKING:  # optional: installed with the extra `stream`
    import av

_thread = threading.local()


@dataclass(slots=True, eq=False)
class Frame:
    """One frame of a stream.

    A frame of a decoder is converted to BGR only when `image` is called, so that a dropped frame costs no more than its
    decoding.

    Convention:
        `arrived` and `decoded` are `time.monotonic()` in seconds, taken when the bytes had been received and when
        the frame had been decoded: the time spent waiting for a camera is not part of a frame's age.
    Args:
        stream: the stream's name.
        index: counts the frames that the stream's reader has read, from 0.
        pixels: (H, W, 3) BGR uint8, (H, W, C) of an image that was read for a model of C channels, or a decoder's frame
            that is not yet converted.
        arrived: when its bytes had been received.
        decoded: when it had been decoded.
        pts: the source's own time in seconds since its first frame, None if it has none.
        matrix: the display matrix of a decoder's frame, see `orientation`; None if the frame is upright.
        aspect: the width of an upright frame's pixel divided by its height, None if it is square or unknown.
    """

    stream: str
    index: int
    pixels: np.ndarray | av.VideoFrame
    arrived: float
    decoded: float
    pts: float | None = None
    matrix: bytes | None = None
    aspect: Fraction | None = None

    def image(self) -> np.ndarray:
        """Return the image (H, W, C) uint8, upright as a player shows it; the decoder's frame is released."""
        if not isinstance(self.pixels, np.ndarray):
            image = _to_bgr(self.pixels)
            self.pixels = image if self.matrix is None else apply_display_matrix(image, self.matrix)
        return self.pixels

    @property
    def nbytes(self) -> int:
        """The memory that its pixels currently occupy, in bytes."""
        if isinstance(self.pixels, np.ndarray):
            return self.pixels.nbytes
        return sum(plane.buffer_size for plane in self.pixels.planes)


@dataclass(slots=True, eq=False)
class Result:
    """The detections on a frame.

    Convention:
        `infer_start` and `infer_end` are on the frame's clock and enclose the run of the network alone.
    Args:
        frame: the frame.
        detections: its objects, with track ids if the stream is tracked.
        infer_start: when the run of the network began.
        infer_end: when it ended.
        zones: zones, lines and their events, as plain JSON.
        stats: the counters of its stream, which cannot be looked up by name: the name may have been reused.
    """

    frame: Frame
    detections: Detections
    infer_start: float
    infer_end: float
    zones: dict[str, Any] | None = None
    stats: StreamStats | None = field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """The memory that its image and its masks currently occupy, in bytes."""
        mask = self.detections.mask
        return self.frame.nbytes + (0 if mask is None else mask.nbytes)

    def ages_s(self) -> dict[str, float]:
        """Return the frame's age in seconds at each stage up to the end of the inference."""
        times = {"decoded": self.frame.decoded, "infer_start": self.infer_start, "infer_end": self.infer_end}
        return {stage: moment - self.frame.arrived for stage, moment in times.items()}


def _to_bgr(frame: av.VideoFrame) -> np.ndarray:
    """Convert a frame. Each thread reuses its converter: a new one, with threads, costs as much as the conversion."""
    if not hasattr(_thread, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _thread.reformatter = VideoReformatter()
    return _thread.reformatter.reformat(frame, format="bgr24", threads=1).to_ndarray()
