"""A video file, every frame of it."""

from __future__ import annotations

from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.sources.decoding import VideoDecoder, check_track_sizes, ffmpeg_reason, pixel_limit, pyav
from fgd_yolo.streams.sources.source import SourceEnded, SourceFrame, SourceLost


class VideoFileSource:
    """Reads a video file as fast as it is asked to.

    Args:
        path: the file.
        share: the stream's share of the pixel budget.
        demuxer: FFmpeg's name of the container, if its content is known and its name may be wrong.
    Raises:
        SourceLost: it cannot be read, or holds no video.
    """

    live = False

    def __init__(self, path: str, share: StreamBudget, demuxer: str | None = None):
        self._share = share
        try:
            # "file:" keeps FFmpeg from taking a name with a colon in it for a protocol.
            check_track_sizes(f"file:{path}", share, format=demuxer)
            self._container = pyav().open(f"file:{path}", format=demuxer, options=pixel_limit(share))
        except ImageTooLargeError as error:
            raise SourceLost(str(error)) from None
        except pyav().FFmpegError as error:
            raise SourceLost(f"cannot be read: {ffmpeg_reason(error, path)}") from None
        try:
            self._decoder = VideoDecoder(self._container, share, recorded=True)
        except (SourceEnded, ImageTooLargeError) as error:
            self._container.close()
            raise SourceLost(str(error)) from None
        self.fps = self._decoder.fps

    def read(self) -> SourceFrame:
        try:
            return self._decoder.read()
        except pyav().FFmpegError as error:
            raise SourceLost(f"cannot be read any further: {ffmpeg_reason(error, '')}") from None

    def close(self) -> None:
        self._share.release()
        self._container.close()
