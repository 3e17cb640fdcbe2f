"""Read the size of an image from the header of its file, before anything is decoded."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from math import prod
from mmap import mmap
from typing import NamedTuple

_MAX_STEPS = 1 << 16  # markers, boxes or tags; far above what real images have
_MAX_TEXT_BYTES = 1 << 16  # of a plain-text header
_MAX_PAGES = 512  # of a TIFF whose pages are channels: OpenCV's maximum number of channels
JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
MAX_SCANS = 100
"""Of a progressive JPEG: the maximum that libjpeg's `cjpeg` writes. Typical files have about ten."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_BITS, _TIFF_SAMPLES, _TIFF_SIZE, _TIFF_TILE = 258, 277, (256, 257), (322, 323)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_CONTAINER_BOXES = {b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"}
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P[1-6Ff]" + _SPACE + rb"(\d{1,10})" + _SPACE + rb"(\d{1,10})\s")
_PAM = re.compile(rb"^(WIDTH|HEIGHT|DEPTH)[ \t]+(\d{1,10})[ \t]*\r?\n", re.MULTILINE)


class Header(NamedTuple):
    """The header of an image file.

    Args:
        kind: the format, such as `JPEG`.
        width: in pixels, as stored, before any rotation.
        height: in pixels.
        bytes_per_pixel: approximate memory that OpenCV or Pillow need to decode a pixel, as measured.
    """

    kind: str
    width: int
    height: int
    bytes_per_pixel: float = 6


def read_header(data: bytes) -> Header | None:
    """Return the header of an image file, or None if the data is not an image of a known format.

    If a format has the size more than once, the largest is returned. The time is linear in the length of the data.

    Source:
        ITU T.81 (JPEG), W3C PNG, ISO/IEC 15444-1 (JPEG 2000), TIFF 6.0 and BigTIFF, ISO/IEC 14496-12 and 23008-12
        (AVIF, HEIF), RFC 9649 (WebP), GIF89a, and the Netpbm documentation.
    """
    try:
        for signature, kind, parse in _FORMATS:
            if re.match(signature, data, re.DOTALL):
                header = parse(data)
                return None if header is None or min(header[:2]) < 1 else Header(kind, *header)
    except (struct.error, IndexError, ValueError, OverflowError):  # truncated, or with invalid offsets
        pass
    else:
        brands = _brands(data)
        for kind, known in (("AVIF", _AVIF_BRANDS), ("HEIF", _HEIF_BRANDS)):
            if brands & known and (size := _largest_in_boxes(data)):
                return Header(kind, *size, 14)
    return None


class JpegHeader(NamedTuple):
    """The part of a JPEG before its first scan.

    Args:
        width: in pixels, 0 while unknown.
        height: in pixels.
        bytes_per_pixel: memory to decode a pixel.
        scan: offset of the first scan, 0 while unknown.
        reach: the header extends at least to this offset, which may be beyond the end of the data.
    """

    width: int = 0
    height: int = 0
    bytes_per_pixel: float = 6
    scan: int = 0
    reach: int = 0


def jpeg_header(data: bytes | bytearray) -> JpegHeader:
    """Return the header of a JPEG, as far as it is known from the first part of the data."""
    width, height, cost, position = 0, 0, 6.0, 2
    for _ in range(_MAX_STEPS):
        start = data.find(b"\xff", position)
        if start < 0 or start + 4 > len(data):
            break
        marker = data[start + 1]
        if marker == 0xFF:
            position = start + 1
        elif marker == 0 or marker in _JPEG_STANDALONE:
            position = start + 2
        elif marker == JPEG_END:
            break
        elif marker == _JPEG_SCAN:
            return JpegHeader(width, height, cost, start if width and height else 0, start)
        else:
            if marker in JPEG_FRAMES and start + 10 <= len(data):
                frame_height, frame_width, components = struct.unpack_from(">HHB", data, start + 5)
                width, height = max((width, height), (frame_width, frame_height), key=prod)
                cost = 6.0 if marker < 0xC2 else max(6.0, 3.0 + 2 * components)  # all scans are stored as coefficients
            position = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
    return JpegHeader(reach=position)


def jpeg_markers(data: bytes | mmap, start: int, end: int = sys.maxsize) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG from an offset on, with the offset of its content; compressed data is skipped."""
    while match := _NEXT_MARKER.search(data, start, end):
        marker, start = data[match.end() - 1], match.end()
        yield marker, start
        if marker != JPEG_END:
            start += max(2, int.from_bytes(data[start : start + 2], "big"))


def jpeg_scans(data: bytes, start: int) -> int:
    """Count the scans of a JPEG from the first one, at `start`, to its end, or up to one more than `MAX_SCANS`."""
    scans = 0
    for step, (marker, _) in enumerate(jpeg_markers(data, start)):
        if marker == JPEG_END:
            break
        scans += marker == _JPEG_SCAN
        if scans > MAX_SCANS or step > _MAX_STEPS:
            return MAX_SCANS + 1
    return scans


def _jpeg(data: bytes) -> tuple[int, int, float] | None:
    header = jpeg_header(data)
    # Each scan is decoded over the whole image: thousands of them, of a few bytes each, would take minutes.
    if not header.scan or jpeg_scans(data, header.scan) > MAX_SCANS:
        return None
    return header[:3]


def _png(data: bytes) -> tuple[int, int, float] | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _bmp(data: bytes) -> tuple[int, ...]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    return tuple(map(abs, struct.unpack_from("<ii", data, 18)))


def _gif(data: bytes) -> tuple[int, ...]:
    return (*struct.unpack_from("<HH", data, 6), 12)


def _webp(data: bytes) -> tuple[float, ...] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
        return width, height, 12 if data[20] & 0x02 else 6  # an animation is decoded to two canvases with alpha
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26)) if kind == b"VP8 " else None


def _jpeg2000(data: bytes) -> tuple[int, int, float] | None:
    start = 0 if data[:2] == b"\xff\x4f" else next((at for kind, at, _ in _boxes(data) if kind == b"jp2c"), None)
    if start is None or data[start + 2 : start + 4] != b"\xff\x51":
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    parts = struct.unpack_from(">H", data, start + 40)[0]
    # OpenJPEG stores 32 bits for each value, and a record of each code block and precinct, which may be tiny.
    return right - left, bottom - top, 4 + parts * (4 + _jpeg2000_overhead(data, start))


def _jpeg2000_overhead(data: bytes, start: int) -> float:
    """Return the bytes per value for code blocks and precincts: the maximum over all headers of the file."""
    cost, position, next_tile = 0.0, start + 2, 0
    for _ in range(_MAX_STEPS):
        if position + 4 > len(data):
            break
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF90:  # the header of a tile, with its length
            tile_length = struct.unpack_from(">I", data, position + 6)[0]
            next_tile = position + tile_length if tile_length else len(data)
        elif marker == 0xFF93:  # the tile's data
            if next_tile <= position:
                break
            position = next_tile
            continue
        elif marker in (0xFF52, 0xFF53):
            # For all components, or for one, whose index precedes the levels and takes two bytes if there are many.
            for levels in (9,) if marker == 0xFF52 else (6, 7):
                block_width, block_height = (data[position + levels + 1 + side] & 15 for side in (0, 1))
                sizes = data[position + levels + 5 : position + 2 + length]
                # From the lowest resolution to the full one; each has four times the values of the previous one.
                precincts = sum(
                    4.0 ** -(len(sizes) - 1 - index) / (1 << (size & 15) + (size >> 4))
                    for index, size in enumerate(sizes)
                )
                cost = max(cost, 450 / (1 << block_width + block_height + 4) + 1500 * precincts)
        elif not 0xFF4F <= marker <= 0xFF92:
            break
        position += 2 + length
    return cost


def _pnm(data: bytes) -> tuple[int, ...] | None:
    match = _PNM.match(data[:_MAX_TEXT_BYTES])
    return match and tuple(map(int, match.groups())) + ((24,) if data[1:2] in b"Ff" else ())


def _pam(data: bytes) -> tuple[int, int, float] | None:
    fields = dict.fromkeys((b"WIDTH", b"HEIGHT", b"DEPTH"), 0)
    for key, value in _PAM.findall(data[:_MAX_TEXT_BYTES]):
        fields[key] = max(fields[key], int(value))
    return fields[b"WIDTH"], fields[b"HEIGHT"], 3 + 2 * fields[b"DEPTH"]


def _sun(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(">II", data, 4)


def _tiff(data: bytes) -> tuple[int, int, float] | None:
    return _tiff_page_size(next(_tiff_pages(data), {}))


def tiff_pages(data: bytes) -> list[Header]:
    """Return the header of each page of a TIFF that `read_header` accepts, up to 512 pages or a damaged one."""
    pages: list[Header] = []
    with suppress(struct.error, ValueError, OverflowError):
        for tags in islice(_tiff_pages(data), _MAX_PAGES):
            pages.append(Header("TIFF", *_tiff_page_size(tags)))
    return pages


def _tiff_page_size(tags: dict[int, list[int]]) -> tuple[int, int, float]:
    """Return the size of a page, or of its tiles if they are larger, since tiles are decoded completely."""
    width, height = (max(tags.get(tag, [0])) for tag in _TIFF_SIZE)
    samples = max(tags.get(_TIFF_SAMPLES, [1]))
    stored = samples * max(tags.get(_TIFF_BITS, [1])) / 8
    tile_width, tile_height = (max(tags.get(tag, [0])) for tag in _TIFF_TILE)
    if tile_width and tile_height:
        width, height = max(width, tile_width), max(height, tile_height)
    return width, height, 6 if stored <= 3 else 1 + 2 * stored


def _tiff_pages(data: bytes) -> Iterator[dict[int, list[int]]]:
    """Yield the tags of each page that are needed."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count_format, entry = ("Q", 20) if big else ("H", 12)
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    steps, seen = _MAX_STEPS, set()
    while start and start not in seen and steps > 0:
        seen.add(start)
        (count,) = struct.unpack_from(order + count_format, data, start)
        start += struct.calcsize(count_format)
        entries = range(start, start + entry * min(count, steps), entry)
        yield _tiff_tags(data, entries, order, big)
        steps -= 1 + len(entries)
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, start + entry * count)


def _tiff_tags(data: bytes, entries: range, order: str, big: bool) -> dict[int, list[int]]:
    tags: dict[int, list[int]] = {}
    for position in entries:
        tag, kind = struct.unpack_from(order + "HH", data, position)
        (length,) = struct.unpack_from(order + ("Q" if big else "I"), data, position + 4)
        number, length = _TIFF_NUMBERS.get(kind), min(length, 1024)
        if number is None or tag not in (*_TIFF_SIZE, *_TIFF_TILE, _TIFF_BITS, _TIFF_SAMPLES):
            continue
        inline, offset = (8, position + 12) if big else (4, position + 8)
        if struct.calcsize(number) * length > inline:
            (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, offset)
        tags.setdefault(tag, []).extend(struct.unpack_from(f"{order}{length}{number}", data, offset))
    return tags


def _boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each box, and the start and end of its content."""
    end = len(data) if end is None else end
    for _ in range(_MAX_STEPS):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        header_bytes = 8
        if size == 1 and start + 16 <= end:
            (size,), header_bytes = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if size == 0 else start + size
        if size and size < header_bytes:
            return
        yield kind, start + header_bytes, min(stop, end)
        start = stop


def _brands(data: bytes) -> set[bytes]:
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 4096)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def _largest_in_boxes(data: bytes) -> tuple[int, int] | None:
    """Return the largest size of any item or track of an ISO media file."""
    sizes, pending = [], [(0, len(data), 0)]
    while pending and len(sizes) < _MAX_STEPS:
        start, end, depth = pending.pop()
        for kind, at, stop in _boxes(data, start, end):
            if kind == b"ispe" and at + 12 <= stop:
                sizes.append(struct.unpack_from(">II", data, at + 4))
            elif kind in (b"av01", b"hvc1", b"hev1") and at + 28 <= stop:
                sizes.append(struct.unpack_from(">HH", data, at + 24))
            elif kind in _CONTAINER_BOXES and depth < 8:
                pending.append((at + {b"meta": 4, b"stsd": 8}.get(kind, 0), stop, depth + 1))
    return max(sizes, key=prod, default=None)


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes], tuple | None]], ...] = (
    (rb"\xff\xd8\xff", "JPEG", _jpeg),
    (rb"\x89PNG\r\n\x1a\n", "PNG", _png),
    (rb"RIFF....WEBP", "WebP", _webp),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF", _tiff),
    (rb"BM", "BMP", _bmp),
    (rb"GIF8", "GIF", _gif),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000", _jpeg2000),
    (rb"P[1-6Ff]\s", "Netpbm", _pnm),
    (rb"P7\s", "Netpbm", _pam),
    (rb"\x59\xa6\x6a\x95", "Sun raster", _sun),
)
