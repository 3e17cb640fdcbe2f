"""Cameras and videos over the network: RTSP and video through PyAV, MJPEG and images through `mjpeg`, `snapshot`."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from fgd_yolo.runtime.pixel_budget import PixelBudget, StreamBudget
from fgd_yolo.streams.sources.decoding import VideoDecoder, check_track_sizes, ffmpeg_reason, pixel_limit, pyav
from fgd_yolo.streams.sources.source import (
    FIRST_FRAME_TIMEOUT_S,
    BadFrame,
    Source,
    SourceEnded,
    SourceFrame,
    SourceLost,
)
from fgd_yolo.streams.url import parse_url

if TYPE_CHECKING:
    from fgd_yolo.streams.sources.http import Response

# Without these FFmpeg buffers seconds of video to probe what RTSP has already announced. `fflags=nobuffer`, which is
# often recommended too, drops the packets that were probed: the first key frame, and the next one may be far away.
_LOW_DELAY = {"flags": "low_delay", "probesize": "32", "analyzeduration": "0"}
_RTSP = {"rtsp_transport": "tcp"}
_CONNECT_TIMEOUT_S = 4.0
_MAX_FPS = 240  # above, it is the rate of the track's clock
_SIGNATURE_BYTES, _MAX_PLAYLIST_BYTES = 16, 1 << 20
_MJPEG = re.compile(rb"\s*(\xff\xd8\xff|--\S|content-(type|length)[ \t]*:)", re.IGNORECASE)
_IMAGE = re.compile(
    rb"\x89PNG|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|\0\0\0\x0cjP  |.{4}ftyp(avif|heic|mif1)", re.DOTALL
)
# All formats of FFmpeg except images, MJPEG and lists of files, of which it buffers without a limit.
_VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,flv,live_flv,avi,asf,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,"
    "ogg,hls,gif,apng,rm,wtv,nut,mxf,dv,yuv4mpegpipe"
)


def check(address: str, budget: PixelBudget) -> None:
    """Check that the address names a host, and that it is clear where its password ends; see `try_parse_url`.

    Raises:
        UsageError: it does not.
        FGDError: PyAV is not installed.
    """
    pyav()
    parse_url(address)


def open_source(address: str, share: StreamBudget, timeout_s: float) -> Source:
    """Open a camera or video over the network.

    MJPEG and images over HTTP are read by this package, since FFmpeg buffers them without a limit; FFmpeg reads the
    rest.

    Args:
        address: the URL.
        share: the stream's share of the pixel budget, checked before frames are decoded.
        timeout_s: seconds of silence after which a connection counts as lost.
    Raises:
        SourceLost: no frame is available.
        ImageTooLargeError: its frames exceed the budget.
    """
    if not address.lower().startswith("http"):
        return NetworkSource(address, share, timeout_s=timeout_s)
    from fgd_yolo.streams.sources.http import get
    from fgd_yolo.streams.sources.mjpeg import MjpegSource
    from fgd_yolo.streams.sources.snapshot import SnapshotSource

    response = get(_encoded(address), timeout_s=timeout_s, connect_timeout_s=_CONNECT_TIMEOUT_S)
    try:
        source = {"mjpeg": MjpegSource, "image": SnapshotSource}.get(_content(response))
        if source:
            return source(response, share, timeout_s=timeout_s)
    except BaseException:
        response.close()
        raise
    response.close()
    return NetworkSource(address, share, timeout_s=timeout_s)


def _content(response: Response) -> str:
    """Return what a response contains, by its type and its first bytes: `mjpeg`, `image` or `video`.

    Raises:
        SourceLost: it is an endless playlist.
    """
    start = response.start(_SIGNATURE_BYTES)
    if response.content_type.lower().startswith("multipart/") or _MJPEG.match(start):
        return "mjpeg"
    if _IMAGE.match(start):
        return "image"
    if start.lstrip().startswith(b"#EXTM3U") and len(response.start(_MAX_PLAYLIST_BYTES)) >= _MAX_PLAYLIST_BYTES:
        raise SourceLost(f"its playlist is longer than {_MAX_PLAYLIST_BYTES} bytes")
    return "video"


class NetworkSource:
    """A camera over RTSP on TCP, or a video over HTTP, played at its own speed.

    The frames of a video arrive when they are due; a pause of more than half of `timeout_s` is shortened to that.

    `https://` and `rtsps://` encrypt, but certificates are not verified: FFmpeg does not by default, and cameras
    sign their own. Against an attacker between the camera and this machine they protect a password no better than
    plain RTSP.

    Args:
        url: the address.
        share: the stream's share of the pixel budget.
        timeout_s: seconds of silence after which a connection counts as lost.
    Raises:
        SourceLost: no frame is available.
        ImageTooLargeError: its frames exceed the budget.
    """

    live = True

    def __init__(self, url: str, share: StreamBudget, *, timeout_s: float):
        self._url, self._share, self._timeout_s = url, share, timeout_s
        start = time.monotonic()
        if url.lower().startswith("rtsp"):
            first = self._open({**_RTSP, **_LOW_DELAY})
            if first is None and time.monotonic() - start < _CONNECT_TIMEOUT_S:
                first = self._open(_RTSP)
        else:
            self._check_sizes()
            first = self._open({"format_whitelist": _VIDEO_FORMATS})
        if first is None:
            waited_s = time.monotonic() - start
            raise SourceLost(f"no frame for {waited_s:.0f} s" if waited_s > 1 else "it responds, but not with video")
        self._first: SourceFrame | None = first
        self._start = first.decoded
        track = self._decoder.track
        self._finite = bool(self._container.duration)
        rate = track.average_rate or track.guessed_rate
        self.fps = float(rate) if rate and rate <= _MAX_FPS else None

    def read(self) -> SourceFrame:
        frame, self._first = self._first, None
        if frame is None:
            try:
                frame = self._decoder.read()
            except SourceEnded:
                if self._finite:
                    raise
                raise SourceLost("the connection was closed") from None  # FFmpeg reports a reset as an end
            except pyav().error.ExitError:
                raise SourceLost(f"no data for {self._timeout_s:g} s") from None
            except pyav().FFmpegError as error:
                raise SourceLost(ffmpeg_reason(error, self._url)) from None
        if self._finite and frame.pts is not None:
            return self._when_due(frame, frame.pts)
        return frame

    def close(self) -> None:
        self._share.release()
        self._container.close()

    def _when_due(self, frame: SourceFrame, pts: float) -> SourceFrame:
        """Return a frame of a clip when it is due, as if it had just arrived; cut a pause that looks like silence."""
        due_s = self._start + pts - time.monotonic()
        wait_s = min(max(0.0, due_s), self._timeout_s / 2)
        self._start -= max(0.0, due_s) - wait_s
        time.sleep(wait_s)
        now = time.monotonic()
        return frame._replace(arrived=now - (frame.decoded - frame.arrived), decoded=now)

    def _open(self, options: dict[str, str]) -> SourceFrame | None:
        """Open and return the first frame, None if these options yield none."""
        deadline = time.monotonic() + FIRST_FRAME_TIMEOUT_S
        try:
            # PyAV gives up after twice the given time.
            timeout = (_CONNECT_TIMEOUT_S / 2, self._timeout_s / 2)
            options = {**options, **pixel_limit(self._share)}
            self._container = pyav().open(_encoded(self._url), options=options, timeout=timeout)
        except pyav().error.InvalidDataError:
            return None
        except pyav().error.ExitError:
            raise SourceLost(f"no response for {_CONNECT_TIMEOUT_S:g} s") from None
        except pyav().FFmpegError as error:
            raise SourceLost(ffmpeg_reason(error, self._url)) from None
        try:
            self._decoder = VideoDecoder(self._container, self._share, skip_cut_jpegs=True)
            while time.monotonic() < deadline:
                with suppress(BadFrame):  # until the first key frame
                    return self._decoder.read()
        except (SourceEnded, pyav().FFmpegError):
            pass
        except BaseException:
            self._container.close()
            raise
        self._container.close()
        return None

    def _check_sizes(self) -> None:
        """Check the size of a video over HTTP, in a separate connection."""
        options = {"format_whitelist": _VIDEO_FORMATS}
        timeout = (_CONNECT_TIMEOUT_S / 2, self._timeout_s / 2)
        with suppress(pyav().FFmpegError):  # reported when it is opened
            check_track_sizes(_encoded(self._url), self._share, options=options, timeout=timeout)


def _encoded(url: str) -> str:
    """Percent-encode a login that was written literally, with @ and / included: FFmpeg decodes it."""
    return parse_url(url).encoded()
