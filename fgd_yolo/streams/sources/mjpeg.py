"""MJPEG over HTTP: JPEGs one after the other, as parts of a multipart response or not, within the pixel budget."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email.message import Message

from fgd_yolo.runtime.image_headers import MAX_SCANS, JpegHeader, jpeg_header, jpeg_scans
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, StreamBudget
from fgd_yolo.streams.sources.decoding import ffmpeg_reason, pyav
from fgd_yolo.streams.sources.http import Response
from fgd_yolo.streams.sources.source import FIRST_FRAME_TIMEOUT_S, BadFrame, SourceFrame, SourceLost

_MAX_OTHER_BYTES = 1 << 20  # before a JPEG, and in front of its first scan
_MAX_BYTES_PER_PIXEL = 3  # of a JPEG: no real one has more
_START, _END = b"\xff\xd8", b"\xff\xd9"
_BLOCK = 64  # pixels: no JPEG has larger ones
_PADDING = 1024  # bytes of a part behind its JPEG
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")


class MjpegSource:
    """A camera that sends JPEGs over HTTP; they have no times.

    Args:
        response: the camera's response; it is closed with the source.
        share: the stream's share of the pixel budget, checked as soon as the size of a JPEG is known.
        timeout_s: seconds without a complete JPEG after which the camera counts as lost.
    """

    live = True
    fps = None

    def __init__(self, response: Response, share: StreamBudget, *, timeout_s: float):
        self._response, self._share = response, share
        self._splitter = JpegSplitter(boundary_of(response.content_type), share.check)
        self._jpegs = self._read_jpegs()
        self._limit_s, self._timeout_s = FIRST_FRAME_TIMEOUT_S, timeout_s
        self._decoder, self._pixels = None, 0
        self._since = time.monotonic()

    def read(self) -> SourceFrame:
        self._since = time.monotonic()
        try:
            jpeg = next(self._jpegs, None)
        except (ImageTooLargeError, PartTooLong) as error:
            raise SourceLost(str(error)) from None
        if jpeg is None:
            raise SourceLost("the connection was closed")
        self._limit_s = self._timeout_s
        arrived = time.monotonic()
        if not jpeg.startswith(_START):
            raise BadFrame("a part of the stream is not a JPEG")
        if _END not in jpeg[-_PADDING:]:
            raise BadFrame("a JPEG is cut off")
        frame = self._decode(jpeg)
        return SourceFrame(frame, arrived, time.monotonic(), None)

    def close(self) -> None:
        self._share.release()
        self._response.close()

    def _read_jpegs(self) -> Iterator[bytes]:
        for chunk in self._response.chunks():
            yield from self._splitter.feed(chunk)
            if time.monotonic() - self._since > self._limit_s:  # sent too slowly
                raise SourceLost(f"no frame for {self._limit_s:g} s")
        yield from self._splitter.finish()

    def _decode(self, jpeg: bytes):
        head = jpeg_header(jpeg)
        if not head.scan:
            raise BadFrame("a JPEG has no image in it")
        if jpeg_scans(jpeg, head.scan) > MAX_SCANS:
            raise BadFrame(f"a JPEG has more than {MAX_SCANS} scans")
        if self._decoder is None or self._pixels != head.width * head.height:
            self._pixels = head.width * head.height
            self._decoder = pyav().CodecContext.create("mjpeg", "r")
            self._decoder.thread_count = 1
            # FFmpeg rounds up to blocks, and counts the rows of both fields if the image is interlaced.
            limit = (head.width + _BLOCK) * (2 * head.height + _BLOCK)
            self._decoder.options = {"max_pixels": str(limit)}
        try:
            frames = self._decoder.decode(pyav().Packet(jpeg))
        except pyav().FFmpegError as error:
            raise BadFrame(ffmpeg_reason(error)) from None
        if not frames or frames[0].is_corrupt:
            raise BadFrame("a frame is damaged")
        return frames[0]


class PartTooLong(Exception):
    """More bytes came than a JPEG can have."""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary in a Content-Type, without the dashes and quotes that some cameras add to it."""
    message = Message()
    message["Content-Type"] = content_type
    try:
        boundary = message.get_boundary("") if message.get_content_maintype() == "multipart" else ""
    except Exception:  # the standard library raises anything at an odd header
        boundary = ""
    return boundary.strip("\"' -").encode("latin-1", "ignore")


class JpegSplitter:
    """Splits a stream of bytes into JPEGs, as real cameras send them.

    The first part may lack its boundary, and any part its header lines, its length or its boundary. A length may be
    wrong, lines may end with a line feed alone, and a JPEG may contain the boundary's text. A part that is not a JPEG,
    or lacks its end, is cut at the next boundary and yielded too, so that the caller can count it.

    Source:
        RFC 2046, section 5.1, and ITU T.81, annex B; more lenient than both.
    Args:
        boundary: the announced boundary, without dashes. If none is announced, or the camera uses another one, the
            first line that starts with two dashes is the boundary.
        check: called with width and height of each JPEG as soon as its header is there; may raise.
    """

    def __init__(self, boundary: bytes, check: Callable[[int, int], object]):
        self._boundary, self._check = boundary, check
        self._buffer = bytearray()
        self._skipped = 0  # bytes since the last JPEG
        self._expect(self._between)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes and yield the JPEGs that are complete with them.

        Raises:
            PartTooLong: a JPEG, or the text between two, is longer than it can be.
        """
        self._buffer += data
        while (part := self._step()) is not None:
            if part:
                yield part

    def finish(self) -> Iterator[bytes]:
        """Yield the JPEG that ends with the stream, if there is one."""
        if self._step == self._body and self._buffer:
            yield bytes(self._buffer)
        self._buffer.clear()

    def _expect(self, step: Callable[[], bytes | None]) -> None:
        # A step returns a JPEG, b"" if it made progress without one, None if it needs more bytes.
        self._step = step
        self._length: int | None = None
        self._head: JpegHeader | None = None
        self._limit = _MAX_OTHER_BYTES
        self._searched = self._scanned = 0

    def _between(self) -> bytes | None:
        """Expect a boundary, a header line or the JPEG itself, and skip everything else."""
        blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
        self._drop(blank)
        if self._buffer.startswith(_START) and len(self._buffer) > 2:
            self._step = self._body
            return b""
        if (line := self._line()) is None:
            return None
        if line.startswith(b"--"):
            self._take_boundary(line)
        elif _HEADER.match(line):
            self._take_header(line)
        elif (start := line.find(_START)) >= 0 and not self._boundary:
            self._buffer[:0] = line[start:] + b"\n"
            self._step = self._body
        return b""

    def _headers(self) -> bytes | None:
        """Expect header lines up to an empty line, or the JPEG if that line is missing."""
        if self._buffer.startswith(_START):
            self._step = self._body
            return b""
        if (line := self._line()) is None:
            return None
        if not line:
            self._step = self._body
        elif line.startswith(b"--"):
            self._take_boundary(line)
        elif _HEADER.match(line):
            self._take_header(line)
        return b""

    def _body(self) -> bytes | None:
        """Expect a JPEG: by its length, by its own end, or up to the next boundary."""
        self._read_head()
        available = len(self._buffer)
        if self._length is not None:
            if self._length > self._limit and self._head.scan:
                raise PartTooLong(f"a part of {self._length} bytes is longer than a JPEG of its size can be")
            if available < self._length:
                return self._wait()
            if _END in self._buffer[max(0, self._length - _PADDING) : self._length]:
                return self._cut(self._length)
        boundary = self._find_boundary()
        end = self._find_end() if self._head.scan else None  # if a length is wrong, or counts padding
        if end is not None and (boundary is None or end <= boundary):
            return self._cut(end)
        return self._wait() if boundary is None else self._cut(boundary)

    def _wait(self) -> None:
        if len(self._buffer) > self._limit:
            raise PartTooLong(f"a JPEG is longer than {self._limit} bytes and has no end")

    def _read_head(self) -> None:
        if self._head is None or not self._head.scan:
            self._head = jpeg_header(self._buffer) if self._buffer.startswith(_START) else JpegHeader()
            if self._head.scan:
                self._check(self._head.width, self._head.height)
                self._limit = _MAX_OTHER_BYTES + _MAX_BYTES_PER_PIXEL * self._head.width * self._head.height
                self._scanned = self._head.scan

    def _find_boundary(self) -> int | None:
        """Return where a JPEG ends because a boundary follows; one inside the JPEG's own header does not count."""
        mark = b"--" + self._boundary if self._boundary else b"\n--"
        start = max(self._searched, self._head.reach)
        while (position := self._buffer.find(mark, start)) >= 0:
            end = len(self._buffer[:position].rstrip(b"-")) if self._boundary else position + 1
            before = bytes(self._buffer[max(0, end - 2) : end])
            if before.endswith(b"\n"):
                return end - (2 if before == b"\r\n" else 1)
            if before == _END or end == 0:
                return end
            start = position + len(mark)
        self._searched = max(start, len(self._buffer) - len(mark))
        return None

    def _find_end(self) -> int | None:
        """Return where the JPEG ends by its own markers; those of thumbnails inside its header do not count."""
        data = self._buffer
        while (position := data.find(b"\xff", self._scanned)) >= 0 and position + 2 <= len(data):
            marker = data[position + 1]
            if marker == 0xD9:
                return position + 2
            if position + 4 > len(data):
                break
            if marker == 0 or 0xD0 <= marker <= 0xD8 or marker == 1:
                self._scanned = position + 2
            elif marker == 0xFF:
                self._scanned = position + 1
            else:
                self._scanned = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if position < 0:
            self._scanned = max(self._scanned, len(data))
        return None

    def _line(self) -> bytes | None:
        """Remove and return a line, without its end."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            self._count(0)
            return None
        line = bytes(self._buffer[:end]).strip(b"\r")
        self._searched = 0
        self._drop(end + 1)
        return line

    def _take_boundary(self, line: bytes) -> None:
        if not self._boundary or self._boundary not in line:
            self._boundary = line.strip(b"- \r")[:256]
        self._expect(self._headers)

    def _take_header(self, line: bytes) -> None:
        self._step = self._headers
        name, _, value = line.partition(b":")
        value = value.strip()
        if name.strip().lower() == b"content-length" and value.isdigit() and int(value[:18]):
            self._length = int(value[:18])

    def _cut(self, end: int) -> bytes:
        part = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._skipped = 0 if part else self._skipped
        self._expect(self._between)
        return part

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._count(count)

    def _count(self, count: int) -> None:
        self._skipped += count
        if self._skipped + self._searched > _MAX_OTHER_BYTES:
            raise PartTooLong(f"there is no JPEG in {_MAX_OTHER_BYTES} bytes")
