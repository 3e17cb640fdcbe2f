"""Decodes a video through PyAV, frame by frame, with correct times."""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from types import ModuleType
from typing import Any

from fgd_yolo.errors import error_message, not_installed
from fgd_yolo.runtime.image_headers import MAX_SCANS, jpeg_header, jpeg_scans
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.address import redact
from fgd_yolo.streams.orientation import display_matrix, swaps_sides
from fgd_yolo.streams.sources.source import BadFrame, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.sources.timestamps import DEFAULT_FPS, RisingTimestamps
from fgd_yolo.text import single_line

_JPEG_END = b"\xff\xd9"
_JPEG_PADDING = 1024
_MAX_FPS = 1000
# FFmpeg rounds both sides up to blocks of up to 64 px, which adds at most this for a frame of 65535 x 65535.
_BLOCK_PIXELS = 10_000_000


def pyav() -> ModuleType:
    """Return the package `av`, imported on first use.

    Raises:
        FGDError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise not_installed("av", "stream") from None
    return av


def ffmpeg_reason(error: Exception, address: str = "") -> str:
    """Return FFmpeg's message about an address, on one line and without its secrets."""
    text = getattr(error, "strerror", None) or error_message(error)
    return single_line(redact(f"{text[:1].lower()}{text[1:]}", address))


def pixel_limit(share: StreamBudget) -> dict[str, str]:
    """Return FFmpeg's option that makes a decoder refuse frames far above the budget, also later in the video."""
    return {"max_pixels": str(share.budget.pixels + _BLOCK_PIXELS)}


def check_track_sizes(address: str, share: StreamBudget, **options: Any) -> None:
    """Open a video without its decoders, check the size of each track, and close it.

    Args:
        address: an address or path as FFmpeg takes it.
        share: the stream's share of the pixel budget.
        options: further arguments of `av.open`.
    Raises:
        ImageTooLargeError: a track exceeds the budget.
        av.FFmpegError: it cannot be opened.
    """
    # With decoders FFmpeg would decode frames to probe the file, in some containers without its own pixel limit.
    without_decoders = {**options.pop("options", {}), "codec_whitelist": "none"}
    with pyav().open(address, options=without_decoders, **options) as container:
        for track in container.streams.video:
            if track.codec_context:  # else there is no decoder for it
                share.budget.check(track.codec_context.width, track.codec_context.height)


class VideoDecoder:
    """Decodes the video of an opened container.

    Every packet is decoded, since H.264 frames need the ones before them; nothing is converted. A frame that the
    decoder had to conceal in part is a bad frame.

    Args:
        container: the caller closes it.
        share: the stream's share of the pixel budget, checked before the first frame is decoded and whenever
            the frame size changes.
        skip_cut_jpegs: treat a JPEG without its end as a bad frame; else the decoder fills the missing part with
            grey.
        recorded: make times rise, see `RisingTimestamps`; done for every container that has a duration.
    Raises:
        SourceEnded: there is no video in it.
        ImageTooLargeError: its frames exceed the budget.
    """

    def __init__(self, container: Any, share: StreamBudget, *, skip_cut_jpegs: bool = False, recorded: bool = False):
        self._container, self._share = container, share
        self.track = video_track(container)
        # With several streams, more threads decode no faster and cost time themselves.
        self.track.codec_context.thread_count = 1
        self.track.codec_context.options = {**self.track.codec_context.options, **pixel_limit(share)}
        self._size = self.track.codec_context.width, self.track.codec_context.height
        share.check(*self._size)
        self._is_mjpeg = self.track.codec_context.name == "mjpeg"
        self._skip_cut_jpegs = skip_cut_jpegs
        self._packets = container.demux(self.track)
        self._decoded: deque[SourceFrame] = deque()
        self._first_pts: float | None = None
        self._matrix: bytes | None = None
        self._asked_for_matrix = False
        self.fps = _frame_rate(self.track)
        self._timestamps = RisingTimestamps(self.fps) if recorded or container.duration else None

    def read(self) -> SourceFrame:
        """Return the next frame.

        Raises:
            SourceEnded: there are no more frames.
            BadFrame: a packet cannot be decoded.
            SourceLost: the frames became too large.
            av.FFmpegError: the container cannot be read any further.
        """
        while not self._decoded:
            packet = next(self._packets, None)
            if packet is None:
                raise SourceEnded
            arrived = time.monotonic()
            if self._is_mjpeg and packet.size:
                self._check_jpeg(bytes(packet))
            if self._timestamps and packet.size:
                stamp = packet.dts if packet.pts is None else packet.pts
                self._timestamps.add_packet(None if stamp is None else float(stamp * packet.time_base))
            try:
                frames = packet.decode()
            except (pyav().error.InvalidDataError, pyav().error.ArgumentError) as error:
                raise BadFrame(ffmpeg_reason(error)) from None
            decoded = time.monotonic()
            for frame in frames:
                self._check_size(frame)
            self._decoded.extend(
                SourceFrame(frame, arrived, decoded, self._seconds(frame), *self._display(frame)) for frame in frames
            )
        frame = self._decoded.popleft()
        if frame.pixels.is_corrupt:
            raise BadFrame("a frame is damaged")
        return frame

    def _check_jpeg(self, jpeg: bytes) -> None:
        if self._skip_cut_jpegs and _JPEG_END not in jpeg[-_JPEG_PADDING:]:
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

    def _seconds(self, frame: Any) -> float | None:
        if self._timestamps:
            is_b = frame.pict_type == pyav().video.frame.PictureType.B
            return self._timestamps.next_frame(frame.time, is_b=is_b)
        if frame.time is None:
            return None
        if self._first_pts is None:
            self._first_pts = frame.time
        return frame.time - self._first_pts

    def _display(self, frame: Any) -> tuple[bytes | None, Fraction | None]:
        """Return matrix and aspect; the matrix of H.264 and HEVC comes with a key frame and holds until the next."""
        # Reading the side data creates a reference cycle in PyAV, which keeps the frame's pixels until the garbage
        # collection. So it is read from few frames: the first, and key frames with a rotation, which PyAV reports
        # without side data. A matrix that only mirrors is therefore recognized only if the first frame has it.
        if not self._asked_for_matrix or self._matrix is not None or frame.rotation:
            matrix = display_matrix(frame) if frame.key_frame or not self._asked_for_matrix else None
            if matrix is not None or frame.key_frame:
                self._matrix = matrix
            self._asked_for_matrix = True
        aspect = self.track.sample_aspect_ratio
        if not aspect or aspect == 1:
            return self._matrix, None
        return self._matrix, 1 / aspect if self._matrix and swaps_sides(self._matrix) else aspect


def video_track(container: Any) -> Any:
    """Return the track that a player shows: never a cover, a moving one before a still one, then the default.

    Raises:
        SourceEnded: there is no video in it.
    """
    tracks = [track for track in container.streams.video if not track.disposition & _cover_dispositions()]
    if not tracks:
        raise SourceEnded("there is no video in it" + (", only a cover image" * bool(container.streams.video)))
    tracks = [track for track in tracks if track.codec_context]
    if not tracks:
        raise SourceEnded("its video has a format that FFmpeg cannot decode here; convert it, for example to H.264")
    default = pyav().stream.Disposition.default
    return min(tracks, key=lambda track: (track.frames == 1, not track.disposition & default))


def _cover_dispositions() -> Any:
    return pyav().stream.Disposition.attached_pic | pyav().stream.Disposition.timed_thumbnails


def _frame_rate(track: Any) -> float:
    # The guessed rate includes what raw H.264 itself declares. A rate above that of any video is that of the track's
    # clock.
    rates = [track.guessed_rate, track.average_rate]
    return next((float(rate) for rate in rates if rate and rate <= _MAX_FPS), DEFAULT_FPS)
