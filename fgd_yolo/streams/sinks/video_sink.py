"""Recordings: MP4 files that show a stream in its own time and survive the end of the process."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgd_yolo.streams.overlay import overlay
from fgd_yolo.streams.sinks import SinkUnavailable
from fgd_yolo.streams.sinks.recording import Recording, load_av
from fgd_yolo.streams.sinks.segments import Segments

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Frame, Result

_PAUSE_S = 5.0


class Mp4Sink:
    """Records every stream to files of its own, at the times at which its frames were taken.

    A new file begins after a gap, when the picture's size changes, when the source's time goes back, and when a file
    is long or large enough. A process that is killed, and a disk that is full, leave files that play, without their
    last half second. After an error of the disk nothing is tried for five seconds.

    Convention:
        A frame's time is the source's own (`Frame.pts`), or its arrival while the source has none. A picture of odd
        width or height loses its last column or row, which H.264 cannot hold; an only one is there twice instead.
    Args:
        path_pattern: a folder, or a path with {stream} and {time}; see `Segments`.
        segment_s: the length from which on a new file begins, in seconds of the stream.
        disk_mb: all recordings with a cap in this folder take at most about so much; the oldest are deleted.
        annotated: record what was found, or else the bare picture.
    Raises:
        UsageError: a pattern that means nothing.
        FGDError: PyAV is not installed, or the folder cannot be written.
    """

    def __init__(
        self,
        path_pattern: str | Path,
        *,
        segment_s: float = 600,
        disk_mb: float | None = None,
        annotated: bool = True,
    ):
        load_av()
        self.name = f"MP4 {path_pattern}"
        self._segments = Segments(path_pattern, disk_mb)
        self._segment_s, self._annotated = segment_s, annotated
        self._open: dict[str, Recording] = {}
        self._resume = 0.0

    def write(self, result: Result) -> None:
        """Add the frame to its stream's file, or begin a new one with it."""
        if time.monotonic() < self._resume:
            raise SinkUnavailable(f"nothing is recorded after the disk failed; it is tried again every {_PAUSE_S:g} s")
        frame = result.frame
        image = overlay(result) if self._annotated else frame.image()
        recording = self._open.get(frame.stream)
        if recording and (self._is_full(recording) or not recording.continues(frame, image)):
            self._finish(frame.stream)
            recording = None
        try:
            if not recording:
                recording = self._open[frame.stream] = self._begin(frame, image)
            recording.add(frame, image)
        except BaseException as error:
            if isinstance(error, OSError):
                self._resume = time.monotonic() + _PAUSE_S
            with suppress(Exception):  # the first error is the one to tell
                self._finish(frame.stream)
            raise
        self._segments.trim(sum(recording.size for recording in self._open.values()))

    def gap(self, stream: str, reason: str) -> None:
        """Finish the stream's file: what follows is another one."""
        if stream in self._open:
            self._finish(stream)

    def close(self) -> None:
        """Finish all files."""
        errors = []
        for stream in list(self._open):
            try:
                self._finish(stream)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _begin(self, frame: Frame, image: np.ndarray) -> Recording:
        wall_s = time.time() - (time.monotonic() - frame.arrived)
        return Recording(self._segments.new(frame.stream, wall_s), frame, image)

    def _is_full(self, recording: Recording) -> bool:
        """Whether it is long enough, or so large that a cap could not be kept while it is in use."""
        cap = self._segments.cap
        too_large = cap is not None and recording.size > cap / (2 * len(self._open))
        return recording.length_s >= self._segment_s or too_large

    def _finish(self, stream: str) -> None:
        recording = self._open.pop(stream)
        try:
            recording.close()
        finally:
            if recording.plays:
                self._segments.finish(recording.path)
            else:
                recording.path.unlink(missing_ok=True)
