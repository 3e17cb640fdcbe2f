"""The files behind the paths that a user gives: folders with their subfolders, lists, images and videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fgd_yolo.errors import UsageError, one_line
from fgd_yolo.runtime.media import VIDEO_SUFFIXES, MediaKind, media_kind
from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.streams.sources.local_files import check, natural_order
from fgd_yolo.text import printable, shortened

TRAINED_SUFFIXES = {"avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"}
"""Suffixes of the images that Ultralytics trains on."""
_VIDEO_SUFFIXES = set(VIDEO_SUFFIXES.split())
_LIST_SUFFIX = ".txt"
_KINDS = "a folder, an image, a video, or a .txt file with a path on each line"


class FrameFile(NamedTuple):
    """An image or a video; one that a list names may be missing."""

    path: Path
    is_video: bool

    @property
    def source(self) -> Path:
        """The video, or the folder of the image: the images of a folder are taken for those of one camera."""
        return self.path if self.is_video else self.path.parent


def find_frame_files(paths: Sequence[str | Path]) -> list[FrameFile]:
    """Return the images and videos behind paths, each once.

    Convention:
        In the order of the paths. A folder is searched with its subfolders and through links, by suffix, in natural
        order: 2.png before 10.png. Hidden files and folders are left out: they are being written, or belong to a
        program. A file that is given by itself may have any suffix but .txt. A list is in its own order, as
        Ultralytics reads it: UTF-8, a path on each line, relative to the working folder, or to the list if it starts
        with `./`.
    Raises:
        UsageError: there is no path, or one does not exist, has no image or video in it, or is neither.
    """
    if not paths:
        raise UsageError(f"no frames were given: give {_KINDS}")
    files = {file.path: file for path in paths for file in _behind(Path(path))}
    return list(files.values())


def _behind(path: Path) -> list[FrameFile]:
    name = f"'{shortened(printable(path), 100)}'"
    try:
        if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for names that are too long)
            raise UsageError(f"{name} does not exist: give {_KINDS}")
        if path.is_dir():
            files = _in_folder(path)
        elif not path.is_file():  # opening a pipe would block until someone writes to it
            raise UsageError(f"{name} is a pipe or a device: give {_KINDS}")
        else:
            files = _in_list(path) if path.suffix.lower() == _LIST_SUFFIX else [_single(path)]
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {one_line(error)}") from None
    if not files:
        raise UsageError(f"{name} has no image or video in it: give {_KINDS}")
    return files


def _in_folder(folder: Path) -> list[FrameFile]:
    files = (_by_suffix(file.absolute()) for file in _walk(folder, set()))
    return sorted(filter(None, files), key=lambda file: natural_order(file.path))


def _walk(folder: Path, above: set[str]) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders; `above` are the real paths of the folders around it."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder around it, which would never end
        return
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), above | {real})
        elif entry.is_file():
            yield Path(entry.path)


def _in_list(file: Path) -> list[FrameFile]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    paths = [file.parent / line[2:] if line.startswith("./") else Path(line) for line in lines if line]
    # One with another suffix is read as an image, and counted if that fails.
    return [_by_suffix(path.absolute()) or FrameFile(path.absolute(), is_video=False) for path in paths]


def _by_suffix(path: Path) -> FrameFile | None:
    suffix = path.suffix[1:].lower()
    is_video = suffix in _VIDEO_SUFFIXES
    return FrameFile(path, is_video) if is_video or suffix in TRAINED_SUFFIXES else None


def _single(path: Path) -> FrameFile:
    if file := _by_suffix(path.absolute()):  # of many, as from a pattern of a shell, one may be damaged
        return file
    check(str(path), PixelBudget())
    return FrameFile(path.absolute(), is_video=media_kind(path) is not MediaKind.IMAGE)
