"""Cameras and videos over the network, through PyAV."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from fgd_yolo.runtime.pixel_budget import StreamBudget
from fgd_yolo.streams.sources.decoding import Decoding, look, pixel_limit, pyav, reason_of
from fgd_yolo.streams.sources.source import BadFrame, Source, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.url import parse_url

if TYPE_CHECKING:
    from fgd_yolo.streams.sources.http import Answer

# Without these FFmpeg keeps seconds of video back to guess what RTSP has already told it. `fflags=nobuffer`, which is
# often advised too, throws away the packets that it looked at: the first key frame, and the wait is for the next one.
_QUICK = {"flags": "low_delay", "probesize": "32", "analyzeduration": "0"}
_RTSP = {"rtsp_transport": "tcp"}
_OPEN_S = 4.0
_FIRST_PICTURE_S = 15.0  # key frames may be far apart
_HIGHEST_FPS = 240  # above, it is the rate of the track's clock
_SIGNATURE_BYTES, _PLAYLIST_BYTES = 16, 1 << 20
_MJPEG = re.compile(rb"\s*(\xff\xd8\xff|--\S|content-(type|length)[ \t]*:)", re.IGNORECASE)
_PICTURE = re.compile(
    rb"\x89PNG|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|\0\0\0\x0cjP  |.{4}ftyp(avif|heic|mif1)", re.DOTALL
)
# All that FFmpeg knows but pictures, MJPEG and lists of files, of which it keeps whatever comes.
_VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,flv,live_flv,avi,asf,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,"
    "ogg,hls,gif,apng,rm,wtv,nut,mxf,dv,yuv4mpegpipe"
)


def open_network(url: str, share: StreamBudget, *, timeout_s: float) -> Source:
    """Open a camera or video over the network.

    MJPEG and pictures over HTTP are read here, since FFmpeg has no limit for what it keeps of them; it reads the rest.

    Args:
        url: the address.
        share: asked for the pictures' size before they are decoded.
        timeout_s: a connection that is silent for so long is lost.
    Raises:
        SourceLost: there is no picture to be had.
        ImageTooLargeError: its pictures are above the budget.
    """
    if not url.lower().startswith("http"):
        return NetworkSource(url, share, timeout_s=timeout_s)
    from fgd_yolo.streams.sources.http import ask
    from fgd_yolo.streams.sources.mjpeg import MjpegSource
    from fgd_yolo.streams.sources.snapshot import StillSource

    answer = ask(_encoded(url), silent_s=timeout_s, connect_s=_OPEN_S)
    try:
        reader = {"mjpeg": MjpegSource, "picture": StillSource}.get(_content(answer))
        if reader:
            return reader(answer, share, timeout_s=timeout_s)
    except BaseException:
        answer.close()
        raise
    answer.close()
    return NetworkSource(url, share, timeout_s=timeout_s)


def _content(answer: Answer) -> str:
    """Say what an answer holds, by its type and its first bytes: `mjpeg`, `picture` or `video`.

    Raises:
        SourceLost: it is a playlist without end.
    """
    start = answer.start(_SIGNATURE_BYTES)
    if answer.content_type.lower().startswith("multipart/") or _MJPEG.match(start):
        return "mjpeg"
    if _PICTURE.match(start):
        return "picture"
    if start.lstrip().startswith(b"#EXTM3U") and len(answer.start(_PLAYLIST_BYTES)) >= _PLAYLIST_BYTES:
        raise SourceLost(f"its playlist is longer than {_PLAYLIST_BYTES} bytes")
    return "video"


class NetworkSource:
    """A camera over RTSP on TCP, or a video over HTTP, played at its own speed.

    A video's pictures arrive when they are due; a pause in it of more than half of `timeout_s` is cut down to that.

    `https://` and `rtsps://` encrypt, but nobody checks whose certificate it is: FFmpeg does not unless it is told to,
    and cameras sign their own. Who can stand between camera and box can read the password, so it is no more than plain
    RTSP against him.

    Args:
        url: the address.
        share: asked for the pictures' size.
        timeout_s: a connection that is silent for so long is lost.
    Raises:
        SourceLost: there is no picture to be had.
        ImageTooLargeError: its pictures are above the budget.
    """

    live = True

    def __init__(self, url: str, share: StreamBudget, *, timeout_s: float):
        self._url, self._share, self._timeout_s = url, share, timeout_s
        began = time.monotonic()
        if url.lower().startswith("rtsp"):
            first = self._open({**_RTSP, **_QUICK})
            if first is None and time.monotonic() - began < _OPEN_S:
                first = self._open(_RTSP)
        else:
            self._look()
            first = self._open({"format_whitelist": _VIDEO_FORMATS})
        if first is None:
            waited_s = time.monotonic() - began
            raise SourceLost(f"no picture for {waited_s:.0f} s" if waited_s > 1 else "it answers, but not as a camera")
        self._first: SourceFrame | None = first
        self._start = first.decoded
        track = self._decoding.stream
        self._finite = bool(self._container.duration)
        rate = track.average_rate or track.guessed_rate
        self.fps = float(rate) if rate and rate <= _HIGHEST_FPS else None

    def read(self) -> SourceFrame:
        picture, self._first = self._first, None
        if picture is None:
            try:
                picture = self._decoding.read()
            except SourceEnded:
                if self._finite:
                    raise
                raise SourceLost("the connection was closed") from None  # FFmpeg reports a reset as an end
            except pyav().error.ExitError:
                raise SourceLost(f"no data for {self._timeout_s:g} s") from None
            except pyav().FFmpegError as error:
                raise SourceLost(reason_of(error, self._url)) from None
        if self._finite and picture.pts is not None:
            return self._when_due(picture, picture.pts)
        return picture

    def close(self) -> None:
        self._share.release()
        self._container.close()

    def _when_due(self, picture: SourceFrame, pts: float) -> SourceFrame:
        """Give a clip's picture at its time, as if it came just then; a pause that looks like silence is shortened."""
        due_s = self._start + pts - time.monotonic()
        wait_s = min(max(0.0, due_s), self._timeout_s / 2)
        self._start -= max(0.0, due_s) - wait_s
        time.sleep(wait_s)
        now = time.monotonic()
        return picture._replace(arrived=now - (picture.decoded - picture.arrived), decoded=now)

    def _open(self, options: dict[str, str]) -> SourceFrame | None:
        """Open and read the first picture, None where these options give none."""
        deadline = time.monotonic() + _FIRST_PICTURE_S
        try:
            # PyAV gives up after twice the time that it is told.
            timeout = (_OPEN_S / 2, self._timeout_s / 2)
            options = {**options, **pixel_limit(self._share)}
            self._container = pyav().open(_encoded(self._url), options=options, timeout=timeout)
        except pyav().error.InvalidDataError:
            return None
        except pyav().error.ExitError:
            raise SourceLost(f"no answer for {_OPEN_S:g} s") from None
        except pyav().FFmpegError as error:
            raise SourceLost(reason_of(error, self._url)) from None
        try:
            self._decoding = Decoding(self._container, self._share, whole_jpegs=True)
            while time.monotonic() < deadline:
                with suppress(BadFrame):  # until the first key frame
                    return self._decoding.read()
        except (SourceEnded, pyav().FFmpegError):
            pass
        except BaseException:
            self._container.close()
            raise
        self._container.close()
        return None

    def _look(self) -> None:
        """Ask for the size of a video over HTTP, in a connection of its own."""
        options = {"format_whitelist": _VIDEO_FORMATS}
        with suppress(pyav().FFmpegError):  # said when it is opened
            look(_encoded(self._url), self._share, options=options, timeout=(_OPEN_S / 2, self._timeout_s / 2))


def check_url(url: str) -> None:
    """Refuse an address that names no host, or whose password ends nobody knows where; see `read_url`.

    Raises:
        UsageError: it is such an address.
        FGDError: PyAV is not installed.
    """
    pyav()
    parse_url(url)


def _encoded(url: str) -> str:
    """Percent-encode a name and password that were written as they are, @ and / included: FFmpeg decodes them."""
    return parse_url(url).encoded()
