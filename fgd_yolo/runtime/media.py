"""Which files a source names, and what kind a file is of, judged by its first bytes: names lie."""

from __future__ import annotations

import glob
import mmap
from enum import Enum
from itertools import islice
from pathlib import Path

import cv2

from fgd_yolo.errors import UsageError, one_line
from fgd_yolo.runtime.image_headers import JPEG_END, JPEG_FRAMES, jpeg_markers

IMAGE_SUFFIXES = "avif bmp dng heic heif jp2 jpeg jpg mpo pbm pgm png ppm tif tiff webp"
"""Suffixes by which pictures are found in a folder."""
VIDEO_SUFFIXES = (
    "264 265 3gp asf avi flv gif h264 h265 hevc m2ts m4v mjpeg mjpg mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
)
"""Suffixes by which videos are found in a folder."""

_HEAD = 64
_JPEG = b"\xff\xd8\xff"
_MOST_BYTES = 64 << 20  # no first picture of a stream is as large
_MOST_MARKERS = 10_000
_PADDING = 1024
_BRANDS = {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1"}
_APP2 = 0xE2


def list_files(source: str | Path, suffixes: str) -> list[Path]:
    """Return the files with such a suffix in a folder, or of a pattern such as `photos/**/*.jpg`, sorted as text.

    Args:
        source: a folder, of which the files directly in it are taken, or a pattern.
        suffixes: separated by spaces.
    Raises:
        UsageError: the folder cannot be read.
    """
    path = Path(source)
    try:
        found = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(source), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        return sorted(file for file in found if _has_suffix(file, suffixes.split()))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{source}' cannot be read: {one_line(error)}") from None


def _has_suffix(file: Path, suffixes: list[str]) -> bool:
    return file.suffix[1:].lower() in suffixes and not file.name.startswith(".") and file.is_file()


class MediaKind(Enum):
    """How a file is read."""

    IMAGE = "one picture, as `read_image` reads it"
    MJPEG = "JPEGs one behind the other (raw MJPEG)"
    ANIMATION = "an animated WebP or AVIF, as Pillow reads it"
    OTHER = "a video, a GIF, an animated PNG, or nothing that is known: FFmpeg will tell"


def media_kind(path: str | Path) -> MediaKind:
    """Return the kind of a file by its content.

    Only its first bytes are looked at; of a JPEG as many as the first picture has, and of a PNG the chunks before it.
    A JPEG with other views of the same photo behind it (MPO, gain maps of HDR photos) is one picture.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith(_JPEG):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return MediaKind.MJPEG if _has_two_jpegs(data) else MediaKind.IMAGE
        if head[4:8] == b"ftyp":
            return _of_boxes(head)
        if head.startswith(b"GIF8"):
            return MediaKind.OTHER
        if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & 0x02:
            return MediaKind.ANIMATION
        if head.startswith(b"\x89PNG") and _is_animated_png(file):
            return MediaKind.OTHER
        file.seek(0)
        # By its number, since a name that is no UTF-8 crashes the process inside OpenCV.
        return MediaKind.IMAGE if cv2.haveImageReader(f"/dev/fd/{file.fileno()}") else MediaKind.OTHER


def _of_boxes(head: bytes) -> MediaKind:
    """Tell photos from videos in the family of MP4 by the brands that the first box names."""
    brands = {head[place : place + 4] for place in range(16, min(int.from_bytes(head[:4], "big"), _HEAD), 4)}
    if head[8:12] == b"avis" or (head[8:12] == b"msf1" and b"avis" in brands):
        return MediaKind.ANIMATION
    return MediaKind.IMAGE if head[8:12] in _BRANDS else MediaKind.OTHER


def _is_animated_png(file) -> bool:
    file.seek(8)
    for _ in range(_MOST_MARKERS):
        header = file.read(8)
        if len(header) < 8 or header[4:] in (b"IDAT", b"IEND"):
            return False
        if header[4:] == b"acTL":
            return True
        file.seek(int.from_bytes(header[:4], "big") + 4, 1)
    return False


def _has_two_jpegs(data: mmap.mmap) -> bool:
    """Say whether another JPEG of the same size is right behind the first."""
    first = _walk(data, 0)
    if first is None:
        return False
    size, end = first
    between = data[end : end + _PADDING].lstrip(b"\x00\r\n")
    start = end + min(len(data) - end, _PADDING) - len(between)
    if not between.startswith(_JPEG):
        return False
    second = _walk(data, start, header_only=True)
    return second is not None and second[0] == size


def _walk(data: mmap.mmap, start: int, header_only: bool = False) -> tuple[bytes, int] | None:
    """Return a JPEG's height and width as they are written, and where it ends; None where it is damaged.

    So are the multi-picture files of two lenses and of HDR photos here: what follows in them is the same photo.
    """
    size, limit = b"", min(len(data), start + _MOST_BYTES)
    for marker, place in islice(jpeg_markers(data, start + 2, limit), _MOST_MARKERS):
        if marker == JPEG_END:
            return size, place
        if marker == _APP2 and data[place + 2 : place + 6] == b"MPF\0":
            return None
        if marker in JPEG_FRAMES:
            size = data[place + 3 : place + 7]
        if header_only and size:
            return size, place
    return None
