"""One MP4 file in the making: frames at their own times, in a file that plays whenever the process or the disk ends."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgd_yolo.errors import FGDError

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Frame

_TICKS = 60_000  # per second: a whole number for 24, 25, 30 and 30000/1001 fps, and MPEG-4 takes no more than 65535
_KEYFRAME_S = 2
_FRAGMENT_S = 0.5
_JUMP_BACK_S = 0.5  # a source that goes back so far has begun anew
# Fragments while it grows, so that a killed process leaves all but the last; an ordinary MP4 once it is closed.
_MUXER = {"movflags": "hybrid_fragmented", "frag_duration": str(int(_FRAGMENT_S * 1e6)), "flush_packets": "1"}
# No frame waits in the encoder, where it would be lost.
_ENCODERS = {"libx264": {"preset": "veryfast", "tune": "zerolatency", "forced-idr": "1"}, "mpeg4": {}}


class Recording:
    """One file in the making, for pictures of one size."""

    def __init__(self, path: Path, frame: Frame, image: np.ndarray):
        av = load_av()
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
        self._stream.codec_context.thread_count = 1  # of a box with many streams
        self._stream.codec_context.time_base = self._stream.time_base = Fraction(1, _TICKS)

    @property
    def length_s(self) -> float:
        """From the first to the last frame."""
        return self._last_s - self._first_s

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self._output.size

    @property
    def plays(self) -> bool:
        """Whether there is a frame in the closed file."""
        return self.frames > 0 and self._output.has_frames

    def continues(self, frame: Frame, image: np.ndarray) -> bool:
        """Whether a frame can go into this file."""
        if image.shape != self._shape or (self._has_pts and frame.pts is None):
            return False
        if frame.pts == 0 < self._last_s and self._has_pts:  # the next video of a folder, however short the last one
            return False
        return (frame.pts if self._has_pts else frame.arrived) > self._last_s - _JUMP_BACK_S

    def add(self, frame: Frame, image: np.ndarray) -> None:
        """Encode a frame at its time; one that is no later than the last is put right behind it."""
        av = load_av()
        if frame.pts is not None and not self._has_pts:  # the first pictures of a camera often have no time yet
            self._has_pts = True
            self._first_s += frame.pts - frame.arrived
            self._last_s += frame.pts - frame.arrived
        self._last_s = max(self._last_s, _seconds(frame))
        self._tick = max(round((_seconds(frame) - self._first_s) * _TICKS), self._tick + 1)
        even = np.ascontiguousarray(self._with_two(image)[: self._stream.height, : self._stream.width])
        # By default PyAV starts threads for each conversion.
        picture = av.VideoFrame.from_ndarray(even, format="bgr24").reformat(format="yuv420p", threads=1)
        picture.pts, picture.time_base = self._tick, Fraction(1, _TICKS)
        if self._tick - self._keyframe >= _KEYFRAME_S * _TICKS:
            self._keyframe = self._tick
            picture.pict_type = av.video.frame.PictureType.I
        self._file.mux(self._stream.encode(picture))
        self._output.keep()
        self.frames += 1

    @staticmethod
    def _with_two(image: np.ndarray) -> np.ndarray:
        """Repeat the only row or column of a picture: the encoder takes none of one pixel."""
        repeats = [2 if side == 1 else 1 for side in image.shape[:2]]
        return image if repeats == [1, 1] else image.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)

    def close(self) -> None:
        """Write the end; what could not be written whole is cut off."""
        try:
            if self.frames:
                self._file.mux(self._stream.encode())
        finally:
            try:
                self._file.close()
            finally:
                self._output.close()


class _Output:
    """A file that is cut back to what was whole when a write to it failed; FFmpeg then writes nothing more."""

    def __init__(self, path: Path):
        self._file = path.open("r+b", buffering=0)
        self._failed = False
        self._header = self._whole = self.size = 0

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            try:
                left = left[self._file.write(left) :]
            except OSError:
                self._failed = True
                raise
        self.size = max(self.size, self._file.tell())
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def keep(self) -> None:
        """What was written up to here is whole."""
        if not self._failed and self.size > self._whole:
            self._header, self._whole = self._header or self.size, self.size

    @property
    def has_frames(self) -> bool:
        """Whether more than the header is whole."""
        return not self._failed or self._whole > self._header

    def close(self) -> None:
        if self._failed:
            self._file.truncate(self._whole)
        self._file.close()


def load_av() -> Any:
    """Return PyAV, which is only imported when it is used.

    Raises:
        FGDError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise FGDError("av is not installed; run pip install 'fgd_yolo[stream]'") from error
    return av


def encoder_name() -> str:
    """Return `libx264`, or `mpeg4` where this FFmpeg was built without it."""
    av = load_av()
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _seconds(frame: Frame) -> float:
    return frame.arrived if frame.pts is None else frame.pts
