"""Frames of a video at equal times, as far as it can be decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from fgd_yolo.streams.frame import Frame
from fgd_yolo.streams.sources.decoding import pyav, video_track
from fgd_yolo.streams.sources.local_files import open_source
from fgd_yolo.streams.sources.source import BadFrame, Source, SourceEnded, SourceFrame, SourceLost

_TOLERANCE_S = 1.0  # by which a complete video may end before the length that its file states
_TIMEOUT_S = 10.0  # of a file, which never waits
_ROUNDING = 1e-6  # of an interval: 0.3 / 0.1 is below 3


class VideoSamples:
    """The frames of a video at equal times.

    Convention:
        The first frame, and of each interval that follows it, [every, 2 every) and so on, the first one that can be
        decoded. Times are in seconds from the first frame. Frames are upright as a player shows them.
    Args:
        path: the video.
        every: the interval in seconds.
        budget: limit of the size of a frame.
    """

    def __init__(self, path: Path, every: float, budget: PixelBudget):
        self._path, self._every, self._budget = path, every, budget
        self.problem: str | None = None
        """After the last frame: why frames are missing, None if none is."""

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield time and frame, (H, W, 3) BGR uint8; if there are none, `problem` says why."""
        try:
            source = open_source(str(self._path), self._budget.for_stream(), _TIMEOUT_S)
        except (SourceLost, ImageTooLargeError) as error:
            self.problem = str(error)
            return
        with closing(source):
            last_s, last_interval = None, -1
            for frame in self._decodable(source):
                last_s = frame.pts
                interval = math.floor(last_s / self._every + _ROUNDING)
                if interval > last_interval:
                    last_interval = interval
                    yield last_s, Frame(self._path.name, 0, *frame).image()
        self.problem = self.problem or self._missing_end(last_s)

    def _missing_end(self, last_s: float | None) -> str | None:
        if last_s is None:
            return "there is no frame in it"
        length = stated_length_s(self._path)
        is_cut = length is not None and last_s < length - _TOLERANCE_S
        return f"it ends at {last_s:.0f} s of {length:.0f} s" if is_cut else None

    def _decodable(self, source: Source) -> Iterator[SourceFrame]:
        while True:
            try:
                yield source.read()
            except BadFrame as error:
                self.problem = str(error)
            except SourceLost as error:
                self.problem = str(error)
                return
            except SourceEnded:
                return


def stated_length_s(path: Path) -> float | None:
    """Return the length of a video in seconds as its file states it; None if it does not, or cannot be read."""
    # Without decoders, which would decode frames to probe the file.
    with (
        suppress(pyav().FFmpegError, SourceEnded, ValueError),
        pyav().open(f"file:{path}", options={"codec_whitelist": "none"}) as container,
    ):
        track = video_track(container)
        return None if track.duration is None else float(track.duration * track.time_base)
    return None
