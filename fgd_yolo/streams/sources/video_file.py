"""A video file, every picture of it."""

from __future__ import annotations

from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.sources.decoding import Decoding, look, pixel_limit, pyav, reason_of
from fgd_yolo.streams.sources.source import SourceEnded, SourceFrame, SourceLost


class FileSource:
    """Reads a video file as fast as it is asked to.

    Args:
        path: of the file.
        share: asked for the size of its pictures.
        demuxer: FFmpeg's name of the container, where its content is known and its name may be wrong.
    Raises:
        SourceLost: it cannot be read, or holds no video.
    """

    live = False

    def __init__(self, path: str, share: StreamBudget, demuxer: str | None = None):
        self._share = share
        try:
            # "file:" keeps FFmpeg from taking a name with a colon in it for a protocol.
            look(f"file:{path}", share, format=demuxer)
            self._container = pyav().open(f"file:{path}", format=demuxer, options=pixel_limit(share))
        except ImageTooLargeError as error:
            raise SourceLost(str(error)) from None
        except pyav().FFmpegError as error:
            raise SourceLost(f"cannot be read: {reason_of(error, path)}") from None
        try:
            self._decoding = Decoding(self._container, share, recorded=True)
        except (SourceEnded, ImageTooLargeError) as error:
            self._container.close()
            raise SourceLost(str(error)) from None
        self.fps = self._decoding.fps

    def read(self) -> SourceFrame:
        try:
            return self._decoding.read()
        except pyav().FFmpegError as error:
            raise SourceLost(f"cannot be read any further: {reason_of(error, '')}") from None

    def close(self) -> None:
        self._share.release()
        self._container.close()
