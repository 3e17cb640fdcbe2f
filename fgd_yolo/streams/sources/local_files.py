"""Files, folders and patterns: the content of a file decides how it is read; those of a folder follow each other."""

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
from fgd_yolo.streams.address import redact, show_address
from fgd_yolo.streams.sources.animation import AnimationSource
from fgd_yolo.streams.sources.decoding import check_track_sizes, pyav
from fgd_yolo.streams.sources.source import BadFrame, Source, SourceEnded, SourceFrame, SourceLost
from fgd_yolo.streams.sources.timestamps import DEFAULT_FPS
from fgd_yolo.streams.sources.video_file import VideoFileSource

_DEMUXERS = {MediaKind.MJPEG: "mjpeg"}  # where the name of the file would mislead FFmpeg
_MAX_ATTEMPTS = 1000  # at the first frame of a damaged file
_DIGITS = re.compile(r"(\d+)")


def check(address: str, budget: PixelBudget, channels: int = 3) -> None:
    """Check that a file can be read, or that a folder or pattern has files.

    Raises:
        UsageError: the file does not exist, is unreadable, is neither an image nor a video, exceeds the budget or has
            another number of channels; the folder or pattern has no images or videos. Of a folder or pattern, the first
            file is checked if the number of channels is neither 1 nor 3.
    """
    if not _is_folder_or_pattern(Path(address)):
        _check_file(address, budget, channels)
        return
    try:
        files = find_files(address)
    except UsageError as error:
        raise UsageError(redact(error, address)) from None
    if channels not in (1, 3):  # few files have them, and a folder of others would give bad frames only
        _check_file(str(files[0]), budget, channels)


def open_source(address: str, share: StreamBudget, timeout_s: float, channels: int = 3) -> Source:
    """Open a file, a folder or a pattern, for a model of this number of channels.

    Raises:
        SourceLost: it cannot be read.
        ImageTooLargeError: it exceeds the budget.
    """
    path = Path(address)
    if _is_folder_or_pattern(path):
        try:
            return FileListSource(find_files(address), share, channels)
        except UsageError as error:
            raise SourceLost(str(error)) from None
    if _kind(path) is MediaKind.IMAGE:
        return FileListSource([path], share, channels)
    return _open_video(path, share, channels)


class FileListSource:
    """Images and videos one after the other. A file that cannot be read is a bad frame, and the next file follows.

    Convention:
        Images are read for a model of `channels` channels, as `load_image` does. Images have no times of their own and
        come at FFmpeg's default rate, from 0. The times of each video start at 0 again, so that objects get new ids and
        a recording a new file.
    """

    live = False
    fps = DEFAULT_FPS

    def __init__(self, files: list[Path], share: StreamBudget, channels: int = 3):
        self._remaining, self._share, self._channels = files[::-1], share, channels
        self._video: Source | None = None
        self._path, self._images = Path(), 0

    def read(self) -> SourceFrame:
        while self._video or self._remaining:
            try:
                if self._video:
                    frame, self._images = self._video.read(), 0
                    return frame
                self._path = self._remaining.pop()
                if _kind(self._path) is MediaKind.IMAGE:
                    return self._read_image()
                self._video = _open_video(self._path, self._share, self._channels)
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

    def _read_image(self) -> SourceFrame:
        arrived = time.monotonic()
        try:
            image = load_image(self._path, self._share.budget, self._channels)
        except UnreadableImageError as error:
            raise BadFrame(f"cannot be read as an image{failure_detail(error)}") from None
        self._share.check(image.shape[1], image.shape[0])
        self._images += 1
        return SourceFrame(image, arrived, time.monotonic(), (self._images - 1) / self.fps)


def find_files(source: str) -> list[Path]:
    """Return the images and videos of a folder or pattern in natural order: 2.png before 10.png, as in FFmpeg's %d.

    Raises:
        UsageError: there are none.
    """
    if files := list_files(source, f"{IMAGE_SUFFIXES} {VIDEO_SUFFIXES}"):
        return sorted(files, key=natural_order)
    if has_magic(source) and not Path(source).is_dir():
        raise UsageError(f"no image or video matches '{source}'; check the pattern")
    raise UsageError(f"there is no image or video in {source}; for files in its subfolders use '{source}/**/*.jpg'")


def natural_order(path: Path) -> tuple[list[list[str | int]], str]:
    """Return the key that sorts paths by the numbers in their names: 2.png before 10.png."""
    parts = [_DIGITS.split(part) for part in (*path.parent.parts, path.stem)]
    return [[int(word) if index % 2 else word for index, word in enumerate(words)] for words in parts], str(path)


def _is_folder_or_pattern(path: Path) -> bool:
    """Whether a path is a folder, or a pattern and no file of that name exists."""
    try:
        return path.is_dir() or (not path.is_file() and has_magic(str(path)))
    except OSError:  # a parent folder may not be entered
        return False


def _kind(path: Path) -> MediaKind:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block until someone writes to it
            raise SourceLost("it is a pipe or a device; give a file, or a camera by its number such as 0")
        return media_kind(path) if path.is_file() else MediaKind.OTHER
    except (OSError, ValueError) as error:
        raise SourceLost(f"cannot be read: {getattr(error, 'strerror', None) or error}".lower()) from None


def _open_video(path: Path, share: StreamBudget, channels: int) -> Source:
    if channels not in (1, 3):
        raise SourceLost(f"it is a video of 3 channels, but the model takes {channels}")
    kind = _kind(path)
    if kind is MediaKind.ANIMATION:
        return AnimationSource(str(path), share)
    return VideoFileSource(str(path), share, _DEMUXERS.get(kind))


def _check_file(path: str, budget: PixelBudget, channels: int) -> None:
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for folders without access and for odd names)
        raise UsageError(
            f"'{show_address(path)}' does not exist: give a video, an image, a folder, a pattern or an address"
        )
    try:
        # With a budget of its own, without the shares of other streams.
        reason = _why_unreadable(Path(path), PixelBudget(budget.pixels / 1e6), channels)
    except ImageTooLargeError as error:
        raise UsageError(f"'{show_address(path)}' is too large: {error}") from None
    except SourceLost as error:
        reason = str(error)
    if reason:
        raise UsageError(f"'{show_address(path)}' is neither an image nor a video: {reason}")


def _why_unreadable(path: Path, budget: PixelBudget, channels: int) -> str | None:
    kind = _kind(path)
    if kind is MediaKind.IMAGE:
        try:
            load_image(path, budget, channels)
        except UnreadableImageError as error:
            return f"cannot be read as an image{failure_detail(error)}"
        return None
    if kind is not MediaKind.ANIMATION:
        with suppress(pyav().FFmpegError):  # reported when it is opened
            check_track_sizes(f"file:{path}", budget.for_stream(), format=_DEMUXERS.get(kind))
    with closing(_open_video(path, budget.for_stream(), channels)) as source:
        return _why_no_frame(source)


def _why_no_frame(source: Source) -> str | None:
    """Read up to the first frame; return why there is none, or None if it came or may still come."""
    reason = "there is no frame in it"
    for _ in range(_MAX_ATTEMPTS):
        try:
            source.read()
        except BadFrame as error:
            reason = str(error)
            continue
        except SourceEnded:
            return reason
        break
    return None
