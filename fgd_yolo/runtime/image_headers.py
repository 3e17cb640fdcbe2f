"""The size that a picture's header gives, read before anything is decoded."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterator
from mmap import mmap
from typing import NamedTuple

_MOST_STEPS = 1 << 16  # markers, boxes or tags; no honest picture comes near
_TEXT_BYTES = 1 << 16  # in which a header of plain text must end
JPEG_END = 0xD9
MAX_SCANS = 100
"""Of a progressive JPEG; so many `cjpeg` of libjpeg writes at most. Real ones have about ten."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_BITS, _TIFF_SAMPLES, _TIFF_SIZE, _TIFF_TILE = 258, 277, (256, 257), (322, 323)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_BOXES_OF_BOXES = {b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"}
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PLAIN = re.compile(rb"P[1-6Ff]" + _SPACE + rb"(\d{1,10})" + _SPACE + rb"(\d{1,10})\s")
_PAM = re.compile(rb"^(WIDTH|HEIGHT|DEPTH)[ \t]+(\d{1,10})[ \t]*\r?\n", re.MULTILINE)


class Header(NamedTuple):
    """What a picture's header tells.

    Args:
        kind: the format, such as `JPEG`.
        width: in pixels, as stored; no turn is applied.
        height: in pixels.
        bytes_per_pixel: about what OpenCV or Pillow need to decode one, as measured.
    """

    kind: str
    width: int
    height: int
    bytes_per_pixel: float = 6


def read_header(data: bytes) -> Header | None:
    """Return what the header of a picture's file tells, None where the data is no picture of a known format.

    Where a format gives the size more than once, the largest counts. Linear in the length of the data.

    Source:
        ITU T.81 (JPEG), W3C PNG, ISO/IEC 15444-1 (JPEG 2000), TIFF 6.0 and BigTIFF, ISO/IEC 14496-12 and 23008-12
        (AVIF, HEIF), RFC 9649 (WebP), GIF89a, and Netpbm's own descriptions.
    """
    try:
        for signature, kind, parse in _FORMATS:
            if re.match(signature, data, re.DOTALL):
                header = parse(data)
                return None if header is None or min(header[:2]) < 1 else Header(kind, *header)
    except (struct.error, IndexError, ValueError, OverflowError):  # it ends within its header, or points elsewhere
        pass
    else:
        brands = _brands(data)
        for kind, known in (("AVIF", _AVIF_BRANDS), ("HEIF", _HEIF_BRANDS)):
            if brands & known and (size := _largest_in_boxes(data)):
                return Header(kind, *size, 14)
    return None


class JpegHeader(NamedTuple):
    """What stands in front of a JPEG's first scan.

    Args:
        width: in pixels, 0 before it is known.
        height: in pixels.
        bytes_per_pixel: to decode one.
        scan: where the first scan begins, 0 before it is known.
        reach: up to here everything belongs to the header; may lie behind the data's end.
    """

    width: int = 0
    height: int = 0
    bytes_per_pixel: float = 6
    scan: int = 0
    reach: int = 0


def jpeg_header(data: bytes | bytearray) -> JpegHeader:
    """Return what is known of a JPEG from its beginning, which may be all that is there yet."""
    width, height, cost, position = 0, 0, 6.0, 2
    for _ in range(_MOST_STEPS):
        found = data.find(b"\xff", position)
        if found < 0 or found + 4 > len(data):
            break
        marker = data[found + 1]
        if marker == 0xFF:
            position = found + 1
        elif marker == 0 or marker in _JPEG_ALONE:
            position = found + 2
        elif marker == 0xD9:
            break
        elif marker == 0xDA:
            return JpegHeader(width, height, cost, found if width and height else 0, found)
        else:
            if marker in JPEG_FRAMES and found + 10 <= len(data):
                down, across, parts = struct.unpack_from(">HHB", data, found + 5)
                width, height = max((width, height), (across, down), key=lambda pair: pair[0] * pair[1])
                cost = 6.0 if marker < 0xC2 else max(6.0, 3.0 + 2 * parts)  # the coefficients of all scans are kept
            position = found + 2 + struct.unpack_from(">H", data, found + 2)[0]
    return JpegHeader(reach=position)


def jpeg_markers(data: bytes | mmap, start: int, end: int = sys.maxsize) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG from `start` on and where its content begins; compressed data is passed over."""
    while found := _NEXT_MARKER.search(data, start, end):
        marker, start = data[found.end() - 1], found.end()
        yield marker, start
        if marker != JPEG_END:
            start += max(2, int.from_bytes(data[start : start + 2], "big"))


def jpeg_scans(data: bytes, start: int) -> int:
    """Return how many scans a JPEG has, from its first one at `start` to its end; any number of too many is one."""
    scans = 0
    for step, (marker, _) in enumerate(jpeg_markers(data, start)):
        if marker == JPEG_END:
            break
        scans += marker == 0xDA
        if scans > MAX_SCANS or step > _MOST_STEPS:
            return MAX_SCANS + 1
    return scans


def _jpeg(data: bytes) -> tuple[int, int, float] | None:
    head = jpeg_header(data)
    if not head.scan or jpeg_scans(data, head.scan) > MAX_SCANS:  # a few bytes each would take minutes to decode
        return None
    return head[:3]


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
        return width, height, 12 if data[20] & 0x02 else 6  # an animation is painted on two canvases with alpha
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
    # OpenJPEG keeps 32 bits for each value, and what it knows of each block and precinct, of which some are tiny.
    return right - left, bottom - top, 4 + parts * (4 + _jpeg2000_pieces(data, start))


def _jpeg2000_pieces(data: bytes, start: int) -> float:
    """Return the bytes for each value that go to code blocks and precincts, at the most of all headers in the file."""
    cost, position, after = 0.0, start + 2, 0
    for _ in range(_MOST_STEPS):
        if position + 4 > len(data):
            break
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF90:  # a tile's header, which tells where the next one is
            tile = struct.unpack_from(">I", data, position + 6)[0]
            after = position + tile if tile else len(data)
        elif marker == 0xFF93:  # the tile's data
            if after <= position:
                break
            position = after
            continue
        elif marker in (0xFF52, 0xFF53):
            # Of all components, or of one, whose number comes first and takes two bytes where there are many.
            for levels in (9,) if marker == 0xFF52 else (6, 7):
                wide, high = (data[position + levels + 1 + side] & 15 for side in (0, 1))
                sizes = data[position + levels + 5 : position + 2 + length]
                # From the smallest resolution to the whole one; each has four times the values of the one before.
                precincts = sum(
                    4.0 ** -(len(sizes) - 1 - index) / (1 << (size & 15) + (size >> 4))
                    for index, size in enumerate(sizes)
                )
                cost = max(cost, 450 / (1 << wide + high + 4) + 1500 * precincts)
        elif not 0xFF4F <= marker <= 0xFF92:
            break
        position += 2 + length
    return cost


def _plain(data: bytes) -> tuple[int, ...] | None:
    found = _PLAIN.match(data[:_TEXT_BYTES])
    return found and tuple(map(int, found.groups())) + ((24,) if data[1:2] in b"Ff" else ())


def _pam(data: bytes) -> tuple[int, int, float] | None:
    told = dict.fromkeys((b"WIDTH", b"HEIGHT", b"DEPTH"), 0)
    for key, value in _PAM.findall(data[:_TEXT_BYTES]):
        told[key] = max(told[key], int(value))
    return told[b"WIDTH"], told[b"HEIGHT"], 3 + 2 * told[b"DEPTH"]


def _sun(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(">II", data, 4)


def _tiff(data: bytes) -> tuple[int, int, float] | None:
    """The first page. A tile that is larger than the picture is decoded whole, and so counts instead."""
    tags = _tiff_tags(data)
    width, height = (max(tags.get(tag, [0])) for tag in _TIFF_SIZE)
    samples = max(tags.get(_TIFF_SAMPLES, [1]))
    stored = samples * max(tags.get(_TIFF_BITS, [1])) / 8
    across, down = (max(tags.get(tag, [0])) for tag in _TIFF_TILE)
    if across and down:
        width, height = max(width, across), max(height, down)
    return width, height, 6 if stored <= 3 else 1 + 2 * stored


def _tiff_tags(data: bytes) -> dict[int, list[int]]:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count_format, entry, inline = ("Q", 20, 8) if big else ("H", 12, 4)
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + count_format, data, start)
    start += struct.calcsize(count_format)
    tags: dict[int, list[int]] = {}
    for position in range(start, start + entry * min(count, _MOST_STEPS), entry):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        (length,) = struct.unpack_from(order + ("Q" if big else "I"), data, position + 4)
        number, length = _TIFF_NUMBERS.get(kind), min(length, 1024)
        if number is None or tag not in (*_TIFF_SIZE, *_TIFF_TILE, _TIFF_BITS, _TIFF_SAMPLES):
            continue
        place = position + entry - inline
        if struct.calcsize(number) * length > inline:
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
        tags.setdefault(tag, []).extend(struct.unpack_from(f"{order}{length}{number}", data, place))
    return tags


def _boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box."""
    end = len(data) if end is None else end
    for _ in range(_MOST_STEPS):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if size == 0 else start + size
        if size and size < head:
            return
        yield kind, start + head, min(stop, end)
        start = stop


def _brands(data: bytes) -> set[bytes]:
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 4096)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def _largest_in_boxes(data: bytes) -> tuple[int, int] | None:
    """Return the largest size that any item or track of an ISO media file gives."""
    sizes, left = [], [(0, len(data), 0)]
    while left and len(sizes) < _MOST_STEPS:
        start, end, depth = left.pop()
        for kind, at, stop in _boxes(data, start, end):
            if kind == b"ispe" and at + 12 <= stop:
                sizes.append(struct.unpack_from(">II", data, at + 4))
            elif kind in (b"av01", b"hvc1", b"hev1") and at + 28 <= stop:
                sizes.append(struct.unpack_from(">HH", data, at + 24))
            elif kind in _BOXES_OF_BOXES and depth < 8:
                left.append((at + {b"meta": 4, b"stsd": 8}.get(kind, 0), stop, depth + 1))
    return max(sizes, key=lambda pair: pair[0] * pair[1], default=None)


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes], tuple | None]], ...] = (
    (rb"\xff\xd8\xff", "JPEG", _jpeg),
    (rb"\x89PNG\r\n\x1a\n", "PNG", _png),
    (rb"RIFF....WEBP", "WebP", _webp),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF", _tiff),
    (rb"BM", "BMP", _bmp),
    (rb"GIF8", "GIF", _gif),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000", _jpeg2000),
    (rb"P[1-6Ff]\s", "Netpbm", _plain),
    (rb"P7\s", "Netpbm", _pam),
    (rb"\x59\xa6\x6a\x95", "Sun raster", _sun),
)
