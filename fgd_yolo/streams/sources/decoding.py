"""Reading a video through PyAV, picture by picture, with honest stamps."""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from types import ModuleType
from typing import Any

from fgd_yolo.errors import FGDError, whole_line
from fgd_yolo.runtime.image_headers import MAX_SCANS, jpeg_header, jpeg_scans
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.orientation import display_matrix, swaps_sides
from fgd_yolo.streams.sources.source import BadFrame, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.sources.timestamps import USUAL_FPS, RisingTimes
from fgd_yolo.text import single_line


def pyav() -> ModuleType:
    """Return the package `av`, imported on first use.

    Raises:
        FGDError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise FGDError("av is not installed, which reads videos; run pip install 'fgd_yolo[stream]'") from None
    return av


def reason_of(error: Exception, address: str = "") -> str:
    """Return what FFmpeg says about an address, on one line and without its secrets."""
    text = getattr(error, "strerror", None) or whole_line(error)
    return single_line(redact(f"{text[:1].lower()}{text[1:]}", address))


_JPEG_END = b"\xff\xd9"
_JPEG_PADDING = 1024
_HIGHEST_FPS = 1000
_BLOCKS = (
    10_000_000  # FFmpeg counts whole blocks of up to 64 px, at the most for both sides of a picture of 65535 x 65535
)


def video_track(container: Any) -> Any:
    """Return the track that a player shows: never a cover, one that moves before a still one, then the default.

    Raises:
        SourceEnded: there is no video in it.
    """
    tracks = [track for track in container.streams.video if not track.disposition & _covers()]
    if not tracks:
        raise SourceEnded("there is no video in it" + (", only a cover picture" * bool(container.streams.video)))
    tracks = [track for track in tracks if track.codec_context]
    if not tracks:
        raise SourceEnded("its video has a format that FFmpeg cannot decode here; convert it, for example to H.264")
    default = pyav().stream.Disposition.default
    return min(tracks, key=lambda track: (track.frames == 1, not track.disposition & default))


def _covers() -> Any:
    return pyav().stream.Disposition.attached_pic | pyav().stream.Disposition.timed_thumbnails


def _frame_rate(track: Any) -> float:
    # FFmpeg's guess knows what a raw H.264 says itself; where it is higher than any video, it is the track's clock.
    rates = [track.guessed_rate, track.average_rate]
    return next((float(rate) for rate in rates if rate and rate <= _HIGHEST_FPS), USUAL_FPS)


def pixel_limit(share: StreamBudget) -> dict[str, str]:
    """Return FFmpeg's option that makes a decoder refuse much larger pictures, those that come later too."""
    return {"max_pixels": str(share.budget.pixels + _BLOCKS)}


def look(address: str, share: StreamBudget, **options: Any) -> None:
    """Open a video without its decoders, ask for the size of each track, and close it.

    Args:
        address: as FFmpeg takes it.
        share: of the stream.
        options: of `av.open`.
    Raises:
        ImageTooLargeError: a track is above the budget.
        av.FFmpegError: it cannot be opened.
    """
    # To find out what is in it FFmpeg would decode pictures, and in some containers without its own limit of pixels.
    chosen = {**options.pop("options", {}), "codec_whitelist": "none"}
    with pyav().open(address, options=chosen, **options) as container:
        for track in container.streams.video:
            if track.codec_context:  # else there is no decoder for it
                share.budget.check(track.codec_context.width, track.codec_context.height)


class Decoding:
    """The video of an opened container.

    Every packet is decoded, since H.264 pictures need the ones before them; nothing is converted. A picture that the
    decoder had to make up in part is a bad one.

    Args:
        container: it stays the caller's, who closes it.
        share: asked for the pictures' size, before the first is decoded and whenever it changes.
        whole_jpegs: a JPEG without its end is a bad picture; else the decoder fills the missing part with grey.
        recorded: its times rise, see `RisingTimes`; so do those of what has a length.
    Raises:
        SourceEnded: there is no video in it.
        ImageTooLargeError: its pictures are above the budget.
    """

    def __init__(self, container: Any, share: StreamBudget, *, whole_jpegs: bool = False, recorded: bool = False):
        self._container, self._share = container, share
        self.stream = video_track(container)
        # More threads decode no stream faster that is one of several, and cost time themselves.
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.options = {**self.stream.codec_context.options, **pixel_limit(share)}
        self._size = self.stream.codec_context.width, self.stream.codec_context.height
        share.check(*self._size)
        self._jpegs = self.stream.codec_context.name == "mjpeg"
        self._whole_jpegs = whole_jpegs
        self._packets = container.demux(self.stream)
        self._ready: deque[SourceFrame] = deque()
        self._first_pts: float | None = None
        self._matrix: bytes | None = None
        self._looked = False
        self.fps = _frame_rate(self.stream)
        self._times = RisingTimes(self.fps) if recorded or container.duration else None

    def read(self) -> SourceFrame:
        """Return the next picture.

        Raises:
            SourceEnded: the container has no more.
            BadFrame: a packet cannot be decoded.
            SourceLost: the pictures became too large.
            av.FFmpegError: the container cannot be read any further.
        """
        while not self._ready:
            packet = next(self._packets, None)
            if packet is None:
                raise SourceEnded
            arrived = time.monotonic()
            if self._jpegs and packet.size:
                self._check_jpeg(bytes(packet))
            if self._times and packet.size:
                stamp = packet.dts if packet.pts is None else packet.pts
                self._times.feed(None if stamp is None else float(stamp * packet.time_base))
            try:
                frames = packet.decode()
            except (pyav().error.InvalidDataError, pyav().error.ArgumentError) as error:
                raise BadFrame(reason_of(error)) from None
            decoded = time.monotonic()
            for frame in frames:
                self._check_size(frame)
            self._ready.extend(
                SourceFrame(frame, arrived, decoded, self._seconds(frame), *self._display(frame)) for frame in frames
            )
        picture = self._ready.popleft()
        if picture.pixels.is_corrupt:
            raise BadFrame("a picture is damaged")
        return picture

    def _check_jpeg(self, jpeg: bytes) -> None:
        if self._whole_jpegs and _JPEG_END not in jpeg[-_JPEG_PADDING:]:
            raise BadFrame("a JPEG is cut off")
        if jpeg_scans(jpeg, jpeg_header(jpeg).scan or len(jpeg)) > MAX_SCANS:
            raise BadFrame(f"a JPEG has more than {MAX_SCANS} scans")

    def _check_size(self, frame: Any) -> None:
        if (frame.width, frame.height) != self._size:
            self._size = frame.width, frame.height
            try:
                self._share.check(*self._size)
            except ImageTooLargeError as error:
                raise SourceLost(str(error)) from None

    def _seconds(self, frame) -> float | None:
        if self._times:
            return self._times.next(frame.time, is_b=frame.pict_type == pyav().video.frame.PictureType.B)
        if frame.time is None:
            return None
        if self._first_pts is None:
            self._first_pts = frame.time
        return frame.time - self._first_pts

    def _display(self, frame: Any) -> tuple[bytes | None, Fraction | None]:
        """Return matrix and aspect; the matrix in H.264 and HEVC comes with a key frame and holds until the next."""
        # PyAV's side data and its frame hold each other until the garbage collection, pixels and all. So few frames are
        # asked: the first, and key frames with a turn, which PyAV tells without. A mirror alone has to be there at the
        # start.
        if not self._looked or self._matrix is not None or frame.rotation:
            found = display_matrix(frame) if frame.key_frame or not self._looked else None
            if found is not None or frame.key_frame:
                self._matrix = found
            self._looked = True
        aspect = self.stream.sample_aspect_ratio
        if not aspect or aspect == 1:
            return self._matrix, None
        return self._matrix, 1 / aspect if self._matrix and swaps_sides(self._matrix) else aspect
