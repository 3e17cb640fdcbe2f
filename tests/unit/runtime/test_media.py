from __future__ import annotations

import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.runtime.media import MediaKind, media_kind

PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def coded(suffix: str, image: np.ndarray = PHOTO) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def animated(path: Path, pictures: int = 3) -> Path:
    from PIL import Image

    first, *others = [Image.fromarray(np.roll(PHOTO, index, 0)) for index in range(pictures)]
    first.save(path, save_all=bool(others), append_images=others, duration=40)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm", ".avif"])
@pytest.mark.parametrize("name", ["photo", "photo.mp4", "photo.mjpeg", "ph\udcfftö 图.jpg"])
def test_one_picture_is_a_picture_whatever_its_name(tmp_path, suffix, name):
    (tmp_path / name).write_bytes(coded(suffix))
    assert media_kind(tmp_path / name) is MediaKind.IMAGE


@pytest.mark.parametrize("name", ["film.mjpeg", "film.jpg", "film", "film.mp4"])
@pytest.mark.parametrize("between", [b"", b"\0\0", b"\r\n"])
def test_jpegs_one_behind_the_other_are_a_stream_of_them(tmp_path, name, between):
    (tmp_path / name).write_bytes(between.join([coded(".jpg")] * 3))
    assert media_kind(tmp_path / name) is MediaKind.MJPEG


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize(
    "data",
    [
        coded(".jpg") + coded(".jpg", PHOTO[:24, :32]),  # a preview or a gain map of the same photo
        coded(".jpg")[:2] + segment(0xE2, b"MPF\0" + bytes(20)) + coded(".jpg")[2:] + coded(".jpg"),  # MPO: two lenses
        coded(".jpg")[:2] + segment(0xE1, b"Exif\0\0" + coded(".jpg")) + coded(".jpg")[2:],  # a thumbnail in it
        coded(".jpg") + b"\0\0\0\x18ftypmp42" + bytes(64) + coded(".jpg"),  # a moving photo
        coded(".jpg") + bytes(40),
        coded(".jpg")[:-200],
        coded(".jpg")[:20],
    ],
    ids=["smaller", "mpo", "thumbnail", "moving photo", "zeros", "cut", "start"],
)
def test_a_jpeg_with_more_views_of_the_same_photo_is_one_picture(tmp_path, data):
    (tmp_path / "photo.jpg").write_bytes(data)
    assert media_kind(tmp_path / "photo.jpg") is MediaKind.IMAGE


def test_a_progressive_jpeg_with_restart_markers_is_walked_to_its_end(tmp_path):
    data = cv2.imencode(".jpg", PHOTO, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
    (tmp_path / "one.jpg").write_bytes(data)
    (tmp_path / "two.jpg").write_bytes(data * 2)
    assert [media_kind(tmp_path / name) for name in ("one.jpg", "two.jpg")] == [MediaKind.IMAGE, MediaKind.MJPEG]


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".gif", MediaKind.OTHER),
        (".png", MediaKind.OTHER),
        (".webp", MediaKind.ANIMATION),
        (".avif", MediaKind.ANIMATION),
    ],
)
def test_what_is_animated_is_no_single_picture(tmp_path, suffix, kind):
    path = animated(tmp_path / f"moves{suffix}")
    assert media_kind(path) is kind
    assert media_kind(path.rename(tmp_path / "moves.jpg")) is kind


def test_videos_and_what_is_nothing_are_other(tmp_path):
    with av.open(str(tmp_path / "clip.jpg"), "w", format="mp4") as file:
        track = file.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        file.mux(track.encode(av.VideoFrame.from_ndarray(PHOTO, "bgr24")))
        file.mux(track.encode())
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    assert {media_kind(path) for path in tmp_path.glob("*.jpg")} == {MediaKind.OTHER}


def test_a_hostile_jpeg_is_walked_in_a_bounded_number_of_steps(tmp_path):
    (tmp_path / "a.jpg").write_bytes(coded(".jpg")[:20] + b"\xff\x01\0\2" * 3_000_000)
    (tmp_path / "b.jpg").write_bytes(coded(".jpg")[:20] + b"\xff" * 12_000_000)
    assert {media_kind(path) for path in tmp_path.glob("*.jpg")} == {MediaKind.IMAGE}


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError):
        media_kind(tmp_path / "none.jpg")
