from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime.images import as_bgr, list_images, read_image

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 9, 3), np.uint16)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "ünï 图 [1].png"])
def test_a_colour_file_is_read_as_it_was_written(tmp_path, name):
    np.testing.assert_array_equal(read_image(save(tmp_path / name, PHOTO)), PHOTO)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped(tmp_path, suffix):
    alpha = np.dstack([PHOTO, np.arange(54, dtype=np.uint8).reshape(6, 9)])
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a{suffix}", alpha)), PHOTO)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_of_sixteen_bits_the_high_byte_is_kept(tmp_path, suffix):
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a{suffix}", DEEP)), DEEP // 256)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_grey_file_becomes_three_equal_channels(tmp_path, suffix):
    grey = PHOTO[..., 0]
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a{suffix}", grey)), np.dstack([grey] * 3))


def test_a_photo_is_turned_as_its_exif_note_says(tmp_path):
    data = cv2.imencode(".jpg", np.full((40, 80, 3), (10, 200, 90), np.uint8))[1].tobytes()
    # Orientation 6 (tag 0x0112): the camera was held upright, so the picture is turned by a quarter.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    path = tmp_path / "turned.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert read_image(path).shape == (80, 40, 3)


def test_one_pixel_and_eight_thousand_are_pictures(tmp_path):
    assert read_image(save(tmp_path / "one.png", PHOTO[:1, :1])).shape == (1, 1, 3)
    assert read_image(save(tmp_path / "wide.png", np.zeros((3, 8000, 3), np.uint8))).shape == (3, 8000, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_what_is_no_picture_is_none(tmp_path, suffix):
    whole = save(tmp_path / f"whole{suffix}", PHOTO).read_bytes()
    for name, content in {"empty": b"", "text": b"no picture", "start": whole[:20]}.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        assert read_image(path) is None
    assert read_image(tmp_path / f"none{suffix}") is None
    assert read_image(tmp_path) is None


def test_a_header_of_absurd_size_is_none(tmp_path):
    data = bytearray(save(tmp_path / "a.bmp", PHOTO).read_bytes())
    data[18:26] = struct.pack("<ii", 2_000_000, 2_000_000)
    (tmp_path / "a.bmp").write_bytes(data)
    assert read_image(tmp_path / "a.bmp") is None


@pytest.mark.slow  # imports the host
def test_files_are_read_as_the_host_reads_them(tmp_path):
    from ultralytics.utils.patches import imread

    grey, alpha = PHOTO[..., 0], np.dstack([PHOTO, PHOTO[..., :1]])
    pictures = {"grey": grey, "colour": PHOTO, "alpha": alpha, "deep": DEEP, "deep_grey": DEEP[..., 0]}
    for kind, image in pictures.items():
        for suffix in (".jpg", ".png", ".tif", ".bmp", ".webp"):
            path = save(tmp_path / f"{kind}{suffix}", image)
            np.testing.assert_array_equal(read_image(path), imread(path), err_msg=path.name)


def test_a_bgr_array_is_not_copied():
    np.testing.assert_array_equal(as_bgr(PHOTO), PHOTO)
    assert np.shares_memory(as_bgr(PHOTO), PHOTO)


def test_a_view_becomes_one_piece_of_memory():
    crop = PHOTO[1:4, 2:5, ::-1]
    np.testing.assert_array_equal(as_bgr(crop), crop)
    assert as_bgr(crop).flags.c_contiguous


@pytest.mark.parametrize("grey", [PHOTO[..., 0], PHOTO[..., :1]])
def test_a_grey_array_becomes_three_equal_channels(grey):
    np.testing.assert_array_equal(as_bgr(grey), np.dstack([PHOTO[..., 0]] * 3))


def test_an_arrays_alpha_is_dropped_and_its_high_byte_kept():
    np.testing.assert_array_equal(as_bgr(np.dstack([DEEP, DEEP[..., 0]])), DEEP // 256)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((0, 5, 3), np.uint8), "has no pixels"),
        (np.zeros((5, 0), np.uint8), "has no pixels"),
        (np.zeros((5, 5, 3), np.float32), "float32 has no known range"),
        (np.zeros((5, 5, 3), np.int64), "int64 has no known range"),
        (np.zeros((5, 5, 3), bool), "bool has no known range"),
        (np.zeros((3, 5, 5), np.uint8), r"shape \(3, 5, 5\) is no picture"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\) is no picture"),
        (np.zeros((1, 5, 5, 3), np.uint8), "is no picture"),
        (np.zeros(5, np.uint8), "is no picture"),
        (None, "NoneType is no picture"),
        ([[1, 2], [3, 4]], "list is no picture"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_in_one_line(image, complaint):
    with pytest.raises(FGDError, match=complaint) as caught:
        as_bgr(image)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.jpg", "a.PNG", "sub/c.jpg", "notes.txt", "clip.mp4", "._a.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content does not matter")
    (tmp_path / "photos" / "folder.jpg").mkdir()
    return tmp_path / "photos"


def test_a_folder_gives_its_own_pictures_sorted(folder):
    assert list_images(folder) == [folder / "a.PNG", folder / "b.jpg"]


def test_a_pattern_gives_pictures_in_folders_too(folder):
    assert list_images(f"{folder}/**/*") == [folder / "a.PNG", folder / "b.jpg", folder / "sub/c.jpg"]


def test_a_relative_pattern_gives_relative_paths(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list_images("*.jpg") == [Path("b.jpg")]


def test_a_file_is_taken_whatever_its_name(folder):
    assert list_images(folder / "notes.txt") == [folder / "notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = tmp_path / "photo[1].jpg"
    path.touch()
    assert list_images(path) == [path]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("missing.jpg", "'.*missing.jpg' does not exist"),
        ("*.webp", "no picture has a name like"),
        ("clip.mp4", "is a video"),
        ("folder.jpg", "there is no picture in"),
        ("a" * 5000, "does not exist|cannot be read"),
        ("nul\0", "does not exist|cannot be read"),
    ],
)
def test_a_source_without_a_picture_is_a_usage_error(folder, source, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        list_images(f"{folder}{os.sep}{source}")
    assert "\n" not in str(caught.value)
