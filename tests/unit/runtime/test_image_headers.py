from __future__ import annotations

import io
import random
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from fgd_yolo.runtime.image_headers import jpeg_header, read_header

WIDTH, HEIGHT = 83, 46
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def encoded(suffix: str, image: np.ndarray = IMAGE, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def by_pillow(kind: str, image: np.ndarray = IMAGE, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def in_tiles() -> bytes:
    """A TIFF of 40 x 30 px in tiles of 512 x 512, which libtiff decodes completely."""
    tags = [(256, 40), (257, 30), (258, 8), (259, 1), (262, 1), (277, 1), (322, 512), (323, 512), (324, 8), (325, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def big_tiff(order: str) -> bytes:
    entries = b"".join(
        struct.pack(order + "HHQI", tag, 4, 1, value) + bytes(4) for tag, value in ((256, WIDTH), (257, HEIGHT))
    )
    sign = b"II" if order == "<" else b"MM"
    return sign + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 2) + entries + bytes(8)


FILES = {
    "JPEG": encoded(".jpg"),
    "progressive JPEG": encoded(".jpg", IMAGE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "MPO": by_pillow("MPO", save_all=True, append_images=[Image.fromarray(IMAGE[:20, :20])]),
    "PNG": encoded(".png"),
    "16-bit PNG": encoded(".png", IMAGE.astype(np.uint16)),
    "WebP": encoded(".webp", IMAGE, cv2.IMWRITE_WEBP_QUALITY, 50),
    "lossless WebP": encoded(".webp"),
    "extended WebP": by_pillow("WEBP", exif=b"Exif\0\0", lossless=True),
    "animated WebP": by_pillow("WEBP", save_all=True, append_images=[Image.fromarray(IMAGE[::-1])]),
    "BMP": encoded(".bmp"),
    "GIF": encoded(".gif"),
    "TIFF": encoded(".tif"),
    "grey TIFF, high byte first": by_pillow("TIFF", IMAGE[..., 0].astype(">u2").view(np.uint16)),
    "BigTIFF, low byte first": big_tiff("<"),
    "BigTIFF, high byte first": big_tiff(">"),
    "JPEG 2000": encoded(".jp2"),
    "JPEG 2000 without boxes": by_pillow("JPEG2000", no_jp2=True),
    "AVIF": by_pillow("AVIF"),
    "animated AVIF": by_pillow("AVIF", save_all=True, append_images=[Image.fromarray(IMAGE[::-1])]),
    "PPM": encoded(".ppm"),
    "PGM": encoded(".pgm", IMAGE[..., 0]),
    "PGM with comments": b"P5 # a camera\n#another\n83 # wide\n46\n255\n" + bytes(WIDTH * HEIGHT),
    "PAM": encoded(".pam"),
    "PFM": encoded(".pfm", IMAGE.astype(np.float32)),
    "Sun raster": encoded(".ras"),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_size_is_in_the_header_of_every_format(kind):
    header = read_header(FILES[kind])
    assert (header.width, header.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_has_the_right_size_or_none(kind):
    complete = FILES[kind]
    for end in range(min(len(complete), 700)):
        header = read_header(complete[:end])
        assert header is None or (header.width, header.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_with_wrong_bytes_never_raises(kind):
    chance = random.Random(0)
    for _ in range(100):
        data = bytearray(FILES[kind])
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
        header = read_header(bytes(data))
        assert header is None or min(header.width, header.height) >= 1
        assert jpeg_header(data).width >= 0


@pytest.mark.parametrize("data", [b"", b"\xff", b"BM", b"no image", b"\x89PNG\r\n\x1a\n", b"P6\n0 0\n255\n", bytes(64)])
def test_data_that_is_not_an_image_or_has_no_pixels_has_no_header(data):
    assert read_header(data) is None


def test_a_bitmap_may_be_stored_from_top_to_bottom():
    data = bytearray(FILES["BMP"])
    data[22:26] = struct.pack("<i", -HEIGHT)
    assert read_header(bytes(data))[1:3] == (WIDTH, HEIGHT)


def test_a_tile_that_is_larger_than_its_image_counts():
    assert read_header(in_tiles())[1:3] == (512, 512)


def test_of_several_sizes_in_one_file_the_largest_counts():
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 3000, 4000)
    small = FILES["JPEG"]
    assert read_header(small[:2] + frame + bytes(10) + small[2:])[1:3] == (4000, 3000)
    data = FILES["AVIF"]
    at = data.index(b"ispe") + 8
    box = struct.pack(">I4s4xII", 20, b"ispe", 5000, 4000)
    ipco = data.index(b"ipco") - 4
    for parent in (b"ipco", b"iprp", b"meta"):
        start = data.index(parent) - 4
        longer = struct.pack(">I", struct.unpack_from(">I", data, start)[0] + len(box))
        data = data[:start] + longer + data[start + 4 :]
    data = data[: ipco + 8] + box + data[ipco + 8 :]
    assert at and read_header(data)[1:3] == (5000, 4000)


@pytest.mark.slow
def test_endless_markers_boxes_and_tags_end_the_search():
    jpeg, box = b"\xff\xd8\xff" + b"\xff" * 3_000_000, b"\0\0\0\x18ftypavif" + bytes(12) + b"\0\0\0\x08free" * 300_000
    tiff = b"II*\0" + struct.pack("<IH", 8, 65535) + struct.pack("<HHII", 256, 4, 0xFFFFFFFF, 8) * 65535
    for data in (jpeg, box, tiff):
        assert read_header(data) is None


def with_scans(jpeg: bytes, count: int) -> bytes:
    """Repeat the last scan of a progressive JPEG; a decoder processes the full image for each one."""
    scan = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    return jpeg[:-2] + scan * count + jpeg[-2:]


def test_a_progressive_jpeg_of_more_than_a_hundred_scans_is_refused():
    progressive = by_pillow("JPEG", progressive=True)
    scans = progressive.count(b"\xff\xda")
    for count in (0, 100 - scans):
        data = with_scans(progressive, count)
        assert read_header(data)[:3] == ("JPEG", WIDTH, HEIGHT)
        assert (cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None) and scans > 1
    assert read_header(with_scans(progressive, 101 - scans)) is None
    # An end marker inside a segment between two scans does not end the image.
    comment = b"\xff\xfe\x00\x04\xff\xd9"
    assert read_header(progressive[:-2] + comment + with_scans(progressive, 101)[len(progressive) - 2 :]) is None
    # Many segments between two scans do not hide the scans after them.
    assert read_header(progressive[:-2] + comment * 70_000 + progressive[-2:]) is None
    # Scans after the end do not belong to the image.
    assert read_header(progressive + b"\xff\xda\x00\x02" * 1000) is not None
