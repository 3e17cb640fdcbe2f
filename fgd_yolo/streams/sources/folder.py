"""Files as a stream: what a file holds decides how it is read, and those of a folder come one after the other."""

from __future__ import annotations

import os
import re
import time
from contextlib import closing, suppress
from glob import has_magic
from pathlib import Path

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaKind, list_files, media_kind
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget, StreamBudget
from fgd_yolo.streams.address import show_address
from fgd_yolo.streams.sources.animation import AnimationSource
from fgd_yolo.streams.sources.decoding import look, pyav
from fgd_yolo.streams.sources.source import BadFrame, Source, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.sources.timestamps import USUAL_FPS
from fgd_yolo.streams.sources.video_file import FileSource

_DEMUXERS = {MediaKind.MJPEG: "mjpeg"}  # where the name of the file would mislead FFmpeg
_TRIES = 1000  # of the first pictures of a damaged file
_DIGITS = re.compile(r"(\d+)")


class FolderSource:
    """Pictures and videos one after the other. What cannot be read is a bad frame, and the next file follows.

    Convention:
        Pictures have no times of their own and come at FFmpeg's usual rate, from 0. The times of each video begin at 0
        again, so that objects get new ids and a recording a new file.
    """

    live = False
    fps = USUAL_FPS

    def __init__(self, files: list[Path], share: StreamBudget):
        self._left, self._share = files[::-1], share
        self._video: Source | None = None
        self._path, self._pictures = Path(), 0

    def read(self) -> SourceFrame:
        while self._video or self._left:
            try:
                if self._video:
                    picture, self._pictures = self._video.read(), 0
                    return picture
                self._path = self._left.pop()
                if _kind(self._path) is MediaKind.IMAGE:
                    return self._read_picture()
                self._video = _open_video(self._path, self._share)
            except SourceEnded:
                self.close()
            except BadFrame as error:
                raise BadFrame(f"{self._path.name}: {error}") from None
            except (SourceLost, ImageTooLargeError) as error:
                self.close()
                raise BadFrame(f"{self._path.name}: {error}") from None
        raise SourceEnded

    def close(self) -> None:
        video, self._video = self._video, None
        self._share.release()
        if video:
            video.close()

    def _read_picture(self) -> SourceFrame:
        arrived = time.monotonic()
        try:
            image = load_image(self._path, self._share.budget)
        except UnreadableImageError as error:
            raise BadFrame(f"cannot be read as a picture{failure_detail(error)}") from None
        self._share.check(image.shape[1], image.shape[0])
        self._pictures += 1
        return SourceFrame(image, arrived, time.monotonic(), (self._pictures - 1) / self.fps)


def open_file(path: str, share: StreamBudget) -> Source:
    """Open a picture or a video.

    Raises:
        SourceLost: it cannot be read.
        ImageTooLargeError: it is above the budget.
    """
    if _kind(Path(path)) is MediaKind.IMAGE:
        return FolderSource([Path(path)], share)
    return _open_video(Path(path), share)


def check_file(path: str, budget: PixelBudget) -> None:
    """Refuse a file that cannot be read.

    Raises:
        UsageError: it does not exist, may not be read, is neither a picture nor a video, or above the budget.
    """
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a folder may not be entered, or a name is odd)
        raise UsageError(
            f"'{show_address(path)}' does not exist: name a video, a picture, a folder, a pattern or an address"
        )
    try:
        reason = _why_unreadable(Path(path), PixelBudget(budget.pixels / 1e6))  # what others take is no reason
    except ImageTooLargeError as error:
        raise UsageError(f"'{show_address(path)}' is too large: {error}") from None
    except SourceLost as error:
        reason = str(error)
    if reason:
        raise UsageError(f"'{show_address(path)}' is neither a picture nor a video: {reason}")


def _why_unreadable(path: Path, budget: PixelBudget) -> str | None:
    kind = _kind(path)
    if kind is MediaKind.IMAGE:
        try:
            load_image(path, budget)
        except UnreadableImageError as error:
            return f"cannot be read as a picture{failure_detail(error)}"
        return None
    if kind is not MediaKind.ANIMATION:
        with suppress(pyav().FFmpegError):  # said when it is opened
            look(f"file:{path}", budget.for_stream(), format=_DEMUXERS.get(kind))
    with closing(_open_video(path, budget.for_stream())) as source:
        return _why_nothing_comes(source)


def _why_nothing_comes(source: Source) -> str | None:
    """Read up to the first picture; return why there is none, or None if it came or may still come."""
    reason = "there is no picture in it"
    for _ in range(_TRIES):
        try:
            source.read()
        except BadFrame as error:
            reason = str(error)
            continue
        except SourceEnded:
            return reason
        break
    return None


def find_files(source: str) -> list[Path]:
    """Return the pictures and videos of a folder or pattern in natural order: 2.png before 10.png, as FFmpeg's %d.

    Raises:
        UsageError: there is none.
    """
    if files := list_files(source, f"{IMAGE_SUFFIXES} {VIDEO_SUFFIXES}"):
        return sorted(files, key=_natural)
    if has_magic(source) and not Path(source).is_dir():
        raise UsageError(f"no picture or video has a name like '{source}'")
    raise UsageError(f"there is no picture or video in {source}; of folders in it say '{source}/**/*.jpg'")


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    parts = [_DIGITS.split(part) for part in (*path.parent.parts, path.stem)]
    return [[int(word) if index % 2 else word for index, word in enumerate(words)] for words in parts], str(path)


def _kind(path: Path) -> MediaKind:
    try:
        if path.exists() and not path.is_file():  # opening a pipe waits for its writer, whatever signal comes
            raise SourceLost("it is a pipe or a device; name a file, or a camera by its number such as 0")
        return media_kind(path) if path.is_file() else MediaKind.OTHER
    except (OSError, ValueError) as error:
        raise SourceLost(f"cannot be read: {getattr(error, 'strerror', None) or error}".lower()) from None


def _open_video(path: Path, share: StreamBudget) -> Source:
    kind = _kind(path)
    if kind is MediaKind.ANIMATION:
        return AnimationSource(str(path), share)
    return FileSource(str(path), share, _DEMUXERS.get(kind))
