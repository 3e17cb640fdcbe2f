"""Find image and video files, and detect the kind of a file by its content, since names may be wrong."""

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
"""Suffixes of the images in a folder."""
VIDEO_SUFFIXES = (
    "264 265 3gp asf avi flv gif h264 h265 hevc m2ts m4v mjpeg mjpg mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
)
"""Suffixes of the videos in a folder."""
STREAM_ADVICE = "run 'fgd-yolo stream --source {}' for videos"

_HEADER_BYTES = 64
_JPEG_START = b"\xff\xd8\xff"
_MAX_JPEG_BYTES = 64 << 20
_MAX_MARKERS = 10_000
_MAX_PADDING = 1024  # bytes between two JPEGs
_IMAGE_BRANDS = {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1"}
_APP2 = 0xE2


def list_files(source: str | Path, suffixes: str) -> list[Path]:
    """Return the files with one of the suffixes in a folder or matching a pattern, sorted by name.

    Args:
        source: a folder, whose subfolders are ignored, or a pattern such as `images/**/*.jpg`.
        suffixes: separated by spaces.
    Raises:
        UsageError: the folder cannot be read.
    """
    path = Path(source)
    try:
        files = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(source), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        return sorted(file for file in files if _has_suffix(file, suffixes.split()))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{source}' cannot be read: {one_line(error)}") from None


def _has_suffix(file: Path, suffixes: list[str]) -> bool:
    return file.suffix[1:].lower() in suffixes and not file.name.startswith(".") and file.is_file()


def list_images(source: str | Path) -> list[Path]:
    """Return the images of a source, in the same order as Ultralytics.

    Args:
        source: a file of any name; a folder, whose subfolders are ignored; or a pattern such as `images/**/*.jpg`.
    Raises:
        UsageError: there is no image; the message names videos, which are for the stream command.
    """
    path = Path(source)
    try:
        if path.is_file():
            return [_not_video(path)]
    except (OSError, ValueError) as error:
        raise UsageError(f"'{source}' cannot be read: {one_line(error)}") from None
    images = list_files(source, IMAGE_SUFFIXES)
    if images:
        return images
    if videos := list_files(source, VIDEO_SUFFIXES):
        count = f"{len(videos)} videos" if len(videos) > 1 else "a video"
        raise UsageError(f"'{source}' contains no image, but {count}: {STREAM_ADVICE.format(source)}")
    if path.is_dir():
        raise UsageError(f"'{source}' contains no image; for images in its subfolders use '{path}/**/*.jpg'")
    if glob.has_magic(str(source)):
        raise UsageError(f"no image matches '{source}'")
    raise UsageError(f"'{source}' does not exist: pass an image, a folder of images, or a pattern such as '*.jpg'")


def _not_video(path: Path) -> Path:
    kind = media_kind(path)
    if kind is MediaKind.MJPEG or (kind is MediaKind.OTHER and path.suffix[1:].lower() in VIDEO_SUFFIXES.split()):
        raise UsageError(f"{path} is a video, not an image: {STREAM_ADVICE.format(path)}")
    return path


class MediaKind(Enum):
    """How a file has to be read."""

    IMAGE = "one image, read by `load_image`"
    MJPEG = "a sequence of JPEGs (raw MJPEG)"
    ANIMATION = "an animated WebP or AVIF, read by Pillow"
    OTHER = "a video, a GIF, an animated PNG, or an unknown format, read by FFmpeg"


def media_kind(path: str | Path) -> MediaKind:
    """Return the kind of a file by its content.

    Only the first bytes are read; for a JPEG the first image, for a PNG the chunks before the image data. A JPEG
    followed by more views of the same photo (MPO, gain maps of HDR photos) is one image.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if header.startswith(_JPEG_START):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return MediaKind.MJPEG if _has_two_jpegs(data) else MediaKind.IMAGE
        if header[4:8] == b"ftyp":
            return _kind_by_brands(header)
        if header.startswith(b"GIF8"):
            return MediaKind.OTHER
        if header[:4] == b"RIFF" and header[8:16] == b"WEBPVP8X" and len(header) > 20 and header[20] & 0x02:
            return MediaKind.ANIMATION
        if header.startswith(b"\x89PNG") and _is_animated_png(file):
            return MediaKind.OTHER
        file.seek(0)
        # By its descriptor, since a name that is not UTF-8 crashes OpenCV.
        return MediaKind.IMAGE if cv2.haveImageReader(f"/dev/fd/{file.fileno()}") else MediaKind.OTHER


def _kind_by_brands(header: bytes) -> MediaKind:
    """Distinguish images from videos in the MP4 family by the brands in the first box."""
    brands = {
        header[start : start + 4] for start in range(16, min(int.from_bytes(header[:4], "big"), _HEADER_BYTES), 4)
    }
    if header[8:12] == b"avis" or (header[8:12] == b"msf1" and b"avis" in brands):
        return MediaKind.ANIMATION
    return MediaKind.IMAGE if header[8:12] in _IMAGE_BRANDS else MediaKind.OTHER


def _is_animated_png(file) -> bool:
    file.seek(8)
    for _ in range(_MAX_MARKERS):
        header = file.read(8)
        if len(header) < 8 or header[4:] in (b"IDAT", b"IEND"):
            return False
        if header[4:] == b"acTL":
            return True
        file.seek(int.from_bytes(header[:4], "big") + 4, 1)
    return False


def _has_two_jpegs(data: mmap.mmap) -> bool:
    """Return whether another JPEG of the same size directly follows the first one."""
    first = _scan_jpeg(data, 0)
    if first is None:
        return False
    size, end = first
    following = data[end : end + _MAX_PADDING].lstrip(b"\x00\r\n")
    start = end + min(len(data) - end, _MAX_PADDING) - len(following)
    if not following.startswith(_JPEG_START):
        return False
    second = _scan_jpeg(data, start, header_only=True)
    return second is not None and second[0] == size


def _scan_jpeg(data: mmap.mmap, start: int, header_only: bool = False) -> tuple[bytes, int] | None:
    """Return the height and width of a JPEG as their four bytes, and the offset of its end; None if it is damaged.

    The result is also None for a multi-picture file (two lenses, HDR), whose further images show the same photo.
    """
    size, limit = b"", min(len(data), start + _MAX_JPEG_BYTES)
    for marker, offset in islice(jpeg_markers(data, start + 2, limit), _MAX_MARKERS):
        if marker == JPEG_END:
            return size, offset
        if marker == _APP2 and data[offset + 2 : offset + 6] == b"MPF\0":
            return None
        if marker in JPEG_FRAMES:
            size = data[offset + 3 : offset + 7]
        if header_only and size:
            return size, offset
    return None
