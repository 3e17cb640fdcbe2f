from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.runtime.media import MediaKind, list_images, media_kind

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def encoded(suffix: str, image: np.ndarray = IMAGE) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def animated(path: Path, frames: int = 3) -> Path:
    from PIL import Image

    first, *others = [Image.fromarray(np.roll(IMAGE, index, 0)) for index in range(frames)]
    first.save(path, save_all=bool(others), append_images=others, duration=40)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm", ".avif"])
@pytest.mark.parametrize("name", ["image", "image.mp4", "image.mjpeg", "im\udcffgé 图.jpg"])
def test_the_kind_of_an_image_does_not_depend_on_its_name(tmp_path, suffix, name):
    (tmp_path / name).write_bytes(encoded(suffix))
    assert media_kind(tmp_path / name) is MediaKind.IMAGE


@pytest.mark.parametrize("name", ["video.mjpeg", "video.jpg", "video", "video.mp4"])
@pytest.mark.parametrize("between", [b"", b"\0\0", b"\r\n"])
def test_a_sequence_of_jpegs_is_mjpeg(tmp_path, name, between):
    (tmp_path / name).write_bytes(between.join([encoded(".jpg")] * 3))
    assert media_kind(tmp_path / name) is MediaKind.MJPEG


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize(
    "data",
    [
        encoded(".jpg") + encoded(".jpg", IMAGE[:24, :32]),  # a preview or a gain map of the same photo
        encoded(".jpg")[:2]
        + segment(0xE2, b"MPF\0" + bytes(20))
        + encoded(".jpg")[2:]
        + encoded(".jpg"),  # MPO: two lenses
        encoded(".jpg")[:2] + segment(0xE1, b"Exif\0\0" + encoded(".jpg")) + encoded(".jpg")[2:],  # a thumbnail in it
        encoded(".jpg") + b"\0\0\0\x18ftypmp42" + bytes(64) + encoded(".jpg"),  # a live photo
        encoded(".jpg") + bytes(40),
        encoded(".jpg")[:-200],
        encoded(".jpg")[:20],
    ],
    ids=["smaller", "mpo", "thumbnail", "live photo", "zeros", "cut", "start"],
)
def test_a_jpeg_with_more_views_of_the_same_photo_is_one_image(tmp_path, data):
    (tmp_path / "photo.jpg").write_bytes(data)
    assert media_kind(tmp_path / "photo.jpg") is MediaKind.IMAGE


def test_a_progressive_jpeg_with_restart_markers_is_scanned_to_its_end(tmp_path):
    data = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
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
def test_an_animation_is_not_one_image(tmp_path, suffix, kind):
    path = animated(tmp_path / f"animated{suffix}")
    assert media_kind(path) is kind
    assert media_kind(path.rename(tmp_path / "animated.jpg")) is kind


def test_videos_and_unknown_formats_are_other(tmp_path):
    with av.open(str(tmp_path / "clip.jpg"), "w", format="mp4") as file:
        track = file.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        file.mux(track.encode(av.VideoFrame.from_ndarray(IMAGE, "bgr24")))
        file.mux(track.encode())
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    assert {media_kind(path) for path in tmp_path.glob("*.jpg")} == {MediaKind.OTHER}


def test_a_malicious_jpeg_is_scanned_in_a_bounded_number_of_steps(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg")[:20] + b"\xff\x01\0\2" * 3_000_000)
    (tmp_path / "b.jpg").write_bytes(encoded(".jpg")[:20] + b"\xff" * 12_000_000)
    assert {media_kind(path) for path in tmp_path.glob("*.jpg")} == {MediaKind.IMAGE}


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(OSError):
        media_kind(tmp_path / "none.jpg")


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.jpg", "a.PNG", "sub/c.jpg", "notes.txt", "clip.mp4", "._a.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content does not matter")
    (tmp_path / "images" / "folder.jpg").mkdir()
    return tmp_path / "images"


def test_a_folder_gives_its_own_images_sorted(folder):
    assert list_images(folder) == [folder / "a.PNG", folder / "b.jpg"]


def test_a_pattern_gives_images_in_subfolders_too(folder):
    assert list_images(f"{folder}/**/*") == [folder / "a.PNG", folder / "b.jpg", folder / "sub/c.jpg"]


def test_a_relative_pattern_gives_relative_paths(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list_images("*.jpg") == [Path("b.jpg")]


def test_a_file_of_any_name_is_accepted(folder):
    assert list_images(folder / "notes.txt") == [folder / "notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = tmp_path / "image[1].jpg"
    path.touch()
    assert list_images(path) == [path]


@pytest.mark.parametrize("pattern", ["{}", "{}/*.mp4", "{}/c*"])
def test_a_folder_of_videos_is_an_error_that_names_the_stream_command(tmp_path, pattern):
    for name in ("a.mp4", "clip.mp4", "c.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"but \d videos: run 'fgd-yolo stream --source .*' for videos"):
        list_images(pattern.format(tmp_path))


def test_an_image_named_like_a_video_is_read_and_a_video_named_like_an_image_is_not(tmp_path):
    data = cv2.imencode(".jpg", IMAGE)[1].tobytes()
    for name, content in (("image.mp4", data), ("video.jpg", data * 2)):
        (tmp_path / name).write_bytes(content)
    assert list_images(tmp_path / "image.mp4") == [tmp_path / "image.mp4"]
    with pytest.raises(UsageError, match=r"video\.jpg is a video, .* run 'fgd-yolo stream --source .*video\.jpg'"):
        list_images(tmp_path / "video.jpg")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("missing.jpg", "'.*missing.jpg' does not exist"),
        ("*.webp", "no image matches"),
        ("clip.mp4", "is a video"),
        ("folder.jpg", "contains no image"),
        ("a" * 5000, "does not exist|cannot be read"),
        ("nul\0", "does not exist|cannot be read"),
    ],
)
def test_a_source_without_an_image_is_a_usage_error(folder, source, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        list_images(f"{folder}{os.sep}{source}")
    assert "\n" not in str(caught.value)
