from __future__ import annotations

import cv2
import numpy as np
import pytest

from fgd_yolo.runtime.pixel_budget import ImageTooLargeError
from fgd_yolo.streams.sources.mjpeg import JpegSplitter, PartTooLong, boundary_of

WIDTH, HEIGHT = 40, 30
MOST = (1 << 20) + 3 * WIDTH * HEIGHT
"""The limit for a JPEG of that size: a megabyte around it, and three bytes per pixel."""


def draw(shade: int) -> bytes:
    noise = np.random.default_rng(shade).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    return jpeg[:2] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


JPEGS = [draw(shade) for shade in range(4)]
THUMBNAILED = [with_segment(jpeg, 0xE1, b"Exif\0\0" + JPEGS[0] + b"\r\n--frame\r\n") for jpeg in JPEGS]
COMMENTED = [with_segment(jpeg, 0xFE, b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n") for jpeg in JPEGS]


def part(jpeg: bytes, before: bytes = b"--frame\r\n", *, kind=True, length=True, line=b"\r\n", after=b"\r\n") -> bytes:
    headers = [b"Content-Type: image/jpeg"] * kind + [b"Content-Length: %d" % len(jpeg)] * (length is True)
    if length not in (True, False):
        headers.append(b"Content-Length: %d" % (len(jpeg) + length))
    return before.replace(b"\r\n", line) + b"".join(head + line for head in headers) + line + jpeg + after


def parts(**options) -> bytes:
    return b"".join(part(jpeg, **options) for jpeg in JPEGS)


CAMERAS = {
    # Content-Type, body: as the firmware or program of that name writes them
    "mjpg-streamer": (
        "multipart/x-mixed-replace;boundary=boundarydonotcross",
        b"--boundarydonotcross\r\n"
        + b"".join(
            b"Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: 1.5\r\n\r\n" % len(jpeg)
            + jpeg
            + b"\r\n--boundarydonotcross\r\n"
            for jpeg in JPEGS
        ),
    ),
    "motion": (
        "multipart/x-mixed-replace; boundary=BoundaryString",
        b"".join(
            b"--BoundaryString\r\nContent-type: image/jpeg\r\nContent-Length: %9d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n"
            for jpeg in JPEGS
        ),
    ),
    "Axis": ("multipart/x-mixed-replace; boundary=myboundary", parts(before=b"--myboundary\r\n")),
    "IP Webcam": (
        "multipart/x-mixed-replace; boundary=Ba4oTvQMY8ew04N8dcnM",
        parts(before=b"--Ba4oTvQMY8ew04N8dcnM\r\n"),
    ),
    "ESP32": ("multipart/x-mixed-replace; boundary=frame", part(JPEGS[0], b"") + b"".join(map(part, JPEGS[1:]))),
    "ESP32-CAM": (
        "multipart/x-mixed-replace;boundary=123456789000000000000987654321",
        parts(before=b"\r\n--123456789000000000000987654321\r\n", after=b""),
    ),
    "named with its dashes": ("multipart/x-mixed-replace; boundary=--frame", parts()),
    "named with its dashes, which are doubled": (
        "multipart/x-mixed-replace; boundary=--frame",
        parts(before=b"----frame\r\n"),
    ),
    "named in quotes": ('Multipart/X-Mixed-Replace; charset=x; BOUNDARY="frame"', parts()),
    "named otherwise": ("multipart/x-mixed-replace; boundary=other", parts()),
    "not named": ("multipart/x-mixed-replace", parts(length=False)),
    "no multipart by its type": ("video/x-motion-jpeg", parts()),
    "no length": ("multipart/x-mixed-replace; boundary=frame", parts(length=False)),
    "no length, no empty line after the JPEG": (
        "multipart/x-mixed-replace; boundary=frame",
        parts(length=False, after=b""),
    ),
    "no header lines": ("multipart/x-mixed-replace; boundary=frame", parts(length=False, kind=False)),
    "no boundary at all": ("multipart/x-mixed-replace; boundary=frame", parts(before=b"")),
    "line feeds alone": ("multipart/x-mixed-replace; boundary=frame", parts(line=b"\n", after=b"\n")),
    "line feeds alone, no length": (
        "multipart/x-mixed-replace; boundary=frame",
        parts(line=b"\n", after=b"\n", length=False),
    ),
    "a length that is too small": ("multipart/x-mixed-replace; boundary=frame", parts(length=-5)),
    "a length that is too large": ("multipart/x-mixed-replace; boundary=frame", parts(length=+60)),
    "a length of nothing": (
        "multipart/x-mixed-replace; boundary=frame",
        parts(length=False, before=b"--frame\r\nContent-Length: 0\r\n"),
    ),
    "words before the first boundary": ("multipart/x-mixed-replace; boundary=frame", b"a camera\r\n\r\n" + parts()),
    "JPEGs alone": ("video/mjpeg", b"".join(JPEGS)),
    "JPEGs alone with zeros between": ("image/jpeg", b"\0\0\0".join(JPEGS)),
}


def cut(content_type: str, body: bytes, piece: int, check=lambda width, height: None) -> list[bytes]:
    splitter, jpegs = JpegSplitter(boundary_of(content_type), check), []
    for start in range(0, len(body), piece):
        jpegs += splitter.feed(body[start : start + piece])
    return [*jpegs, *splitter.finish()]


def trimmed(jpegs: list[bytes]) -> list[bytes]:
    """Remove what a wrong length left after a JPEG; a decoder ignores it."""
    return [jpeg[: jpeg.rindex(b"\xff\xd9") + 2] for jpeg in jpegs]


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_gives_every_jpeg_however_its_bytes_arrive(camera, piece):
    assert trimmed(cut(*CAMERAS[camera], piece)) == JPEGS


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("jpegs", [COMMENTED, THUMBNAILED], ids=["in a comment", "in a thumbnail"])
def test_a_boundary_or_an_end_inside_a_jpeg_is_part_of_it(jpegs, length):
    body = b"".join(part(jpeg, length=length) for jpeg in jpegs)
    for piece in (3, 1 << 20):
        assert cut("multipart/x-mixed-replace; boundary=frame", body, piece) == jpegs


@pytest.mark.parametrize("camera", [name for name in CAMERAS if "too" not in name])
def test_a_jpeg_is_yielded_with_its_last_byte(camera):
    """A camera with one frame per second must not be a second late."""
    content_type, body = CAMERAS[camera]
    splitter = JpegSplitter(boundary_of(content_type), lambda width, height: None)
    assert list(splitter.feed(body[: body.index(JPEGS[0]) + len(JPEGS[0])])) == [JPEGS[0]]


@pytest.mark.parametrize("damage", ["cut", "torn", "garbage"])
def test_a_damaged_part_is_yielded_and_the_next_ones_are_complete(damage):
    half = JPEGS[1][: len(JPEGS[1]) // 2]
    bad, length = {"cut": (half, True), "torn": (half, len(half)), "garbage": (JPEGS[1][::-1], True)}[damage]
    body = part(JPEGS[0]) + part(bad, length=length) + part(JPEGS[2]) + part(JPEGS[3])
    for piece in (1, 1 << 20):
        jpegs = cut("multipart/x-mixed-replace; boundary=frame", body, piece)
        assert jpegs == [JPEGS[0], bad, JPEGS[2], JPEGS[3]]


def fed_until_refused(splitter: JpegSplitter, start: bytes, more: bytes) -> int:
    """Return how many bytes a splitter accepted before it raised."""
    fed = len(start)
    with pytest.raises(PartTooLong):
        list(splitter.feed(start))
        while fed < 8 * MOST:
            fed += len(more)
            assert list(splitter.feed(more)) == []
    return fed


HEAD = b"--frame\r\nContent-Type: image/jpeg\r\n"
SCAN = JPEGS[0][:-2]


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD + b"\r\n" + SCAN, b"\x55" * 4096),
        (HEAD + b"\r\n" + SCAN, b"\xff\x00" * 2048),
        (HEAD + b"\r\n" + SCAN, b"\xff" * 4096),
        (HEAD + b"Content-Length: 2000000000\r\n\r\n" + SCAN, b"\x55" * 4096),
        (HEAD + b"Content-Length: 2000000000\r\n\r\n", b"\x55" * 4096),
        (HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n\xff\xd8", b"\xff\xe1\xff\xff" + bytes(65533)),
        (HEAD + b"\r\n\xff\xd8\xff\xe1", b"\xff" * 4096),
        (HEAD + b"\r\n", b"garbage " * 512),
        (HEAD, b"X-Header: endless\r\n" * 200),
        (HEAD + b"X-Header: ", b"endless" * 600),
        (b"", b"--frame\r\n" * 400),
        (b"", b"--frame--\r\n\r\n" * 400),
        (b"", b"-" * 4096),
        (b"", b"\r\n" * 2048),
        (b"", b"no line end" * 400),
        (JPEGS[0][:2], b"\xff\xd8" * 2048),
    ],
)
def test_a_part_without_an_end_is_abandoned_after_a_megabyte_and_three_bytes_a_pixel(start, more):
    splitter = JpegSplitter(b"frame", lambda width, height: None)
    assert fed_until_refused(splitter, start, more) <= MOST + len(start) + 2 * len(more)


def test_a_jpeg_with_a_size_above_the_budget_is_refused_by_its_header():
    def check(width, height):
        raise ImageTooLargeError(f"{width} x {height}")

    head = JPEGS[0][: JPEGS[0].index(b"\xff\xda") + 4]
    with pytest.raises(ImageTooLargeError, match=f"^{WIDTH} x {HEIGHT}$"):
        cut("multipart/x-mixed-replace; boundary=frame", HEAD + b"\r\n" + head, 10, check)


@pytest.mark.parametrize(
    "content_type",
    ["", "multipart", "multipart/x-mixed-replace; boundary", "multipart/mixed; boundary=\udce4", ";" * 999],
)
def test_an_odd_content_type_names_no_boundary_or_a_plain_one(content_type):
    assert isinstance(boundary_of(content_type), bytes)


@pytest.mark.parametrize("length", [4096, False])
def test_a_jpeg_that_is_padded_to_full_pages_ends_at_its_own_end(length):
    body = b"".join(part(jpeg, length=length, after=bytes(4096) + b"\r\n") for jpeg in JPEGS)
    for piece in (7, 1000, len(body)):
        assert cut("multipart/x-mixed-replace; boundary=frame", body, piece) == JPEGS
