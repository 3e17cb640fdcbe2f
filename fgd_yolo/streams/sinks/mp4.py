"""A sink that records each stream to MP4 files, at the source's own timing; they play after a crash or a full disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgd_yolo.runtime.images import as_bgr
from fgd_yolo.streams.overlay import overlay
from fgd_yolo.streams.sinks.segments import Segments
from fgd_yolo.streams.sinks.sink import SinkUnavailable
from fgd_yolo.streams.sources.decoding import pyav

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Frame, Result
    from fgd_yolo.streams.stream_options import RunOptions

_RETRY_S = 5.0  # after an error of the disk
_TICKS = 60_000  # per second: a frame takes an integer number at 24, 25, 30 and 30000/1001 fps; MPEG-4 allows 65535
_KEYFRAME_S = 2
_FRAGMENT_S = 0.5
_JUMP_BACK_S = 0.5  # a source whose time goes back that far has restarted
# Fragments while the file grows, so that a killed process loses only the last one; a regular MP4 once it is closed.
_MUXER = {"movflags": "hybrid_fragmented", "frag_duration": str(int(_FRAGMENT_S * 1e6)), "flush_packets": "1"}
# No frame waits in the encoder, where a killed process would lose it.
_ENCODERS = {"libx264": {"preset": "veryfast", "tune": "zerolatency", "forced-idr": "1"}, "mpeg4": {}}


class Mp4Sink:
    """Records each stream to its own files, with the frames at their original times.

    A new file begins after a gap, when the frame size changes, when the source's time goes back, and when a file is
    long or large enough. After a killed process or a full disk the files play, without their last half second. After
    an error of the disk the sink waits five seconds before it tries again.

    Convention:
        A frame's time is the source's own (`Frame.pts`), or its arrival if the source has none. H.264 needs even
        sizes: a frame of odd width or height loses its last column or row, and one of a single pixel is doubled.
    Args:
        path_pattern: a folder, or a path with {stream} and {time}; see `Segments`.
        segment_s: length in seconds of the stream at which a new file begins.
        disk_mb: approximate cap on all capped recordings in this folder; the oldest are deleted.
        annotated: draw the detections; otherwise record the plain frames.
    Raises:
        UsageError: the pattern is invalid.
        FGDError: PyAV is not installed, or the folder is not writable.
    """

    def __init__(
        self,
        path_pattern: str | Path,
        *,
        segment_s: float = 600,
        disk_mb: float | None = None,
        annotated: bool = True,
    ):
        pyav()
        self.name = f"MP4 {path_pattern}"
        self._segments = Segments(path_pattern, disk_mb)
        self._segment_s, self._annotated = segment_s, annotated
        self._open: dict[str, Recording] = {}
        self._retry_at = 0.0

    @classmethod
    def from_options(cls, options: RunOptions, stop_run: Callable[[], object]) -> Mp4Sink:
        """Open the folder of `--save`, with the limits of `--segment-s` and `--disk-mb`; `--raw` draws no boxes."""
        limits = {"segment_s": options.segment_s, "disk_mb": options.disk_mb}
        return cls(options.save, annotated=not options.raw, **limits)

    def write(self, result: Result) -> None:
        """Add the frame to its stream's file, or begin a new file with it."""
        if time.monotonic() < self._retry_at:
            raise SinkUnavailable(f"recording paused after a disk error; retrying every {_RETRY_S:g} s")
        frame = result.frame
        image = overlay(result) if self._annotated else as_bgr(frame.image())
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
                self._retry_at = time.monotonic() + _RETRY_S
            with suppress(Exception):  # the first error is the one to report
                self._finish(frame.stream)
            raise
        self._segments.trim(sum(recording.size for recording in self._open.values()))

    def gap(self, stream: str, reason: str) -> None:
        """Finish the stream's file: what follows goes into a new one."""
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
        started = time.time() - (time.monotonic() - frame.arrived)
        return Recording(self._segments.new(frame.stream, started), frame, image)

    def _is_full(self, recording: Recording) -> bool:
        """Return whether a file is long enough, or so large that files in use alone could exceed the cap."""
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


class Recording:
    """An MP4 file while it is recorded, for frames of one size."""

    def __init__(self, path: Path, frame: Frame, image: np.ndarray):
        av = pyav()
        self.path, self.frames = path, 0
        self._shape, self._has_pts = image.shape, frame.pts is not None
        self._first_s = self._last_s = _seconds(frame)
        self._tick, self._keyframe = -1, -_KEYFRAME_S * _TICKS
        try:
            self._output = _Output(path)
            self._file = av.open(self._output, "w", format="mp4", options=_MUXER)
            name = encoder_name()
            self._stream = self._file.add_stream(name, rate=30, options=_ENCODERS[name])
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._stream.height, self._stream.width = (max(2, side // 2 * 2) for side in image.shape[:2])
        self._stream.pix_fmt = "yuv420p"
        if frame.aspect:
            self._stream.codec_context.sample_aspect_ratio = frame.aspect
        if name == "mpeg4":
            self._stream.codec_context.bit_rate = 4 * self._stream.width * self._stream.height
        self._stream.codec_context.thread_count = 1  # a machine records many streams at once
        self._stream.codec_context.time_base = self._stream.time_base = Fraction(1, _TICKS)

    @property
    def length_s(self) -> float:
        """Seconds from the first to the last frame."""
        return self._last_s - self._first_s

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._output.size

    @property
    def plays(self) -> bool:
        """Whether the closed file has a frame."""
        return self.frames > 0 and self._output.has_frames

    def continues(self, frame: Frame, image: np.ndarray) -> bool:
        """Return whether a frame can be added to this file."""
        if image.shape != self._shape or (self._has_pts and frame.pts is None):
            return False
        if frame.pts == 0 < self._last_s and self._has_pts:  # the next video of a folder, however short the last one
            return False
        return (frame.pts if self._has_pts else frame.arrived) > self._last_s - _JUMP_BACK_S

    def add(self, frame: Frame, image: np.ndarray) -> None:
        """Encode a frame at its time; one that is not later than the last is placed directly after it."""
        av = pyav()
        if frame.pts is not None and not self._has_pts:  # the first frames of a camera often have no time yet
            self._has_pts = True
            self._first_s += frame.pts - frame.arrived
            self._last_s += frame.pts - frame.arrived
        self._last_s = max(self._last_s, _seconds(frame))
        self._tick = max(round((_seconds(frame) - self._first_s) * _TICKS), self._tick + 1)
        even = np.ascontiguousarray(self._doubled(image)[: self._stream.height, : self._stream.width])
        # By default PyAV starts threads for each conversion.
        video_frame = av.VideoFrame.from_ndarray(even, format="bgr24").reformat(format="yuv420p", threads=1)
        video_frame.pts, video_frame.time_base = self._tick, Fraction(1, _TICKS)
        if self._tick - self._keyframe >= _KEYFRAME_S * _TICKS:
            self._keyframe = self._tick
            video_frame.pict_type = av.video.frame.PictureType.I
        self._file.mux(self._stream.encode(video_frame))
        self._output.mark_complete()
        self.frames += 1

    @staticmethod
    def _doubled(image: np.ndarray) -> np.ndarray:
        """Repeat a single row or column: the encoder needs at least two pixels per side."""
        repeats = [2 if side == 1 else 1 for side in image.shape[:2]]
        return image if repeats == [1, 1] else image.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)

    def close(self) -> None:
        """Finish the file; an incomplete part at its end is cut off."""
        try:
            if self.frames:
                self._file.mux(self._stream.encode())
        finally:
            try:
                self._file.close()
            finally:
                self._output.close()


class _Output:
    """A file that is cut back to its complete part if a write fails; FFmpeg writes nothing more after that."""

    def __init__(self, path: Path):
        self._file = path.open("r+b", buffering=0)
        self._failed = False
        self._header = self._complete = self.size = 0

    def write(self, data: bytes) -> int:
        unwritten = memoryview(data)
        while unwritten:
            try:
                unwritten = unwritten[self._file.write(unwritten) :]
            except OSError:
                self._failed = True
                raise
        self.size = max(self.size, self._file.tell())
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def mark_complete(self) -> None:
        """Mark everything written so far as complete."""
        if not self._failed and self.size > self._complete:
            self._header, self._complete = self._header or self.size, self.size

    @property
    def has_frames(self) -> bool:
        """Whether the complete part is more than the header."""
        return not self._failed or self._complete > self._header

    def close(self) -> None:
        if self._failed:
            self._file.truncate(self._complete)
        self._file.close()


def encoder_name() -> str:
    """Return `libx264`, or `mpeg4` if FFmpeg was built without it."""
    av = pyav()
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _seconds(frame: Frame) -> float:
    return frame.arrived if frame.pts is None else frame.pts
