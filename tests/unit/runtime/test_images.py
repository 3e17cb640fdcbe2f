from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime.images import UnreadableImageError, as_bgr, list_images, load_image, read_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from memory import grown_mb

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


@pytest.mark.parametrize("pattern", ["{}", "{}/*.mp4", "{}/c*"])
def test_a_folder_of_videos_is_said_to_be_one_and_what_plays_it(tmp_path, pattern):
    for name in ("a.mp4", "clip.mp4", "c.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"but \d videos: run 'fgd-yolo stream --source .*', which plays videos"):
        list_images(pattern.format(tmp_path))


def test_a_photo_named_as_a_video_is_read_and_a_stream_of_jpegs_named_as_a_photo_is_not(tmp_path):
    data = cv2.imencode(".jpg", PHOTO)[1].tobytes()
    for name, content in (("photo.mp4", data), ("film.jpg", data * 2)):
        (tmp_path / name).write_bytes(content)
    assert list_images(tmp_path / "photo.mp4") == [tmp_path / "photo.mp4"]
    with pytest.raises(UsageError, match=r"film\.jpg is a video, .* run 'fgd-yolo stream --source .*film\.jpg'"):
        list_images(tmp_path / "film.jpg")


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


QUARTERS = np.kron(np.random.default_rng(5).integers(0, 256, (2, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG2000": {}}
LOSSY = {"JPEG": {"quality": 98, "subsampling": 0}, "AVIF": {"quality": 98}}


def turned_photo(kind: str, orientation: int, path: Path) -> Path:
    """Save a photo with its EXIF note, which in AVIF and HEIC becomes the properties `irot` and `imir`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = path / f"{orientation}.{kind.lower().replace('jpeg2000', 'jp2')}"
    Image.fromarray(QUARTERS).save(path, kind, exif=exif, **{**LOSSLESS, **LOSSY}[kind])
    return path


def upright(path: Path) -> np.ndarray:
    """A photo as Pillow turns it, BGR."""
    with Image.open(path) as photo:
        return np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))[..., ::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG", "AVIF"])
def test_every_format_is_turned_and_mirrored_as_pillow_does_it(tmp_path, kind, orientation):
    path = turned_photo(kind, orientation, tmp_path)
    most = 0 if kind in LOSSLESS else 2  # two builds of one decoder
    assert np.abs(upright(path).astype(int) - read_image(path)).max() <= most


def test_an_avif_that_was_turned_has_the_same_pixels_as_in_ultralytics(tmp_path):
    from ultralytics.utils.patches import imread

    for orientation in (1, 4, 6, 7):
        path = turned_photo("AVIF", orientation, tmp_path)
        np.testing.assert_array_equal(read_image(path), imread(path))


HEIC = Path(__file__).parents[2] / "data" / "turned.heic"


def test_an_iphones_photo_is_turned_as_its_properties_say():
    # 64 x 32 px, blue on its left and red on its right, with irot for a quarter to the right.
    image = load_image(HEIC)
    assert image.shape == (64, 32, 3)
    assert (image[:28].argmax(axis=2) == 0).all() and (image[36:].argmax(axis=2) == 2).all()


@pytest.mark.parametrize(
    ("missing", "what"), [("pi_heif", r"HEIC .*pip install 'fgd_yolo\[heic\]'"), ("PIL", "pillow")]
)
def test_a_photo_that_needs_a_missing_package_says_which(monkeypatch, missing, what):
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnreadableImageError, match=what):
        load_image(HEIC)
    assert read_image(HEIC) is None


def test_a_picture_above_the_budget_says_its_size_and_what_to_do(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((300, 400, 3), np.uint8))
    assert load_image(path, PixelBudget(0.12)).shape == (300, 400, 3)
    with pytest.raises(
        ImageTooLargeError, match=r"^400 x 300 px are 0\.12 megapixels, above the limit of 0\.119; raise --max-"
    ):
        load_image(path, PixelBudget(0.119))
    assert read_image(path, PixelBudget(0.119)) is None


def test_a_file_that_is_longer_than_a_picture_can_be_is_not_read(tmp_path):
    path = save(tmp_path / "a.png", PHOTO)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ImageTooLargeError, match=r"^1\.1e\+06 MB are above the limit of 900 for a picture"):
        load_image(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ImageTooLargeError, match="are above the limit of 6 for a picture"):
        load_image(path, PixelBudget(1))


def bomb(kind: str, side: int) -> bytes:
    """A small file of a large picture."""
    grey = Image.new("L", (side, side))
    file = io.BytesIO()
    if kind == "TIFF of 40 pages":
        grey = Image.new("RGB", (side // 8, side // 8))
        grey.save(file, "TIFF", save_all=True, append_images=[grey] * 39, compression="tiff_deflate")
    else:
        grey.save(file, kind, **({"compression": "tiff_deflate"} if kind == "TIFF" else {}))
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    "blocks", [{"codeblock_size": (4, 4)}, {"codeblock_size": (16, 16), "precinct_size": (32, 32)}]
)
def test_a_jpeg_2000_in_tiny_blocks_costs_what_openjpeg_keeps_of_them(tmp_path, blocks):
    path = tmp_path / "blocks.jp2"
    Image.new("RGB", (2000, 1500)).save(path, "JPEG2000", **blocks)
    before = "import numpy, cv2\nfrom fgd_yolo.runtime.images import read_image, PixelBudget"
    read = f"image = read_image({str(path)!r}, PixelBudget({{}}))"
    assert grown_mb(read.format(6), before) < 36  # it would take more than 120 MB
    read_mb = grown_mb(read.format(60) + "; assert image is not None", before)
    assert 60 < read_mb < 60 * 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "AVIF", "JPEG2000", "BMP", "TIFF of 40 pages"])
def test_a_picture_takes_no_more_memory_than_its_budget(tmp_path, kind):
    (tmp_path / "bomb").write_bytes(bomb(kind, 4000))
    before = "import numpy, cv2, PIL.AvifImagePlugin\nfrom fgd_yolo.runtime.images import read_image, PixelBudget"
    read = f"image = read_image({str(tmp_path / 'bomb')!r}, PixelBudget({{}}))"
    reserve = 20 + (tmp_path / "bomb").stat().st_size / 1e6
    assert grown_mb(read.format(1 if "40" in kind else 15), before) < 1 * 6 + reserve
    megapixels = 0.25 if "40" in kind else 16
    cost = {"GIF": 12, "AVIF": 14, "JPEG2000": 8.2}.get(kind, 6)  # what a pixel of that format takes
    enough = megapixels * max(1, cost / 6) + 0.01
    assert grown_mb(read.format(enough) + "; assert image is not None", before) < 1.1 * 6 * enough + reserve


@pytest.mark.slow
def test_a_moving_webp_counts_with_the_canvases_that_its_decoder_paints_on(tmp_path):
    path = tmp_path / "moves.webp"
    first, second = (Image.new("RGB", (4000, 4000), (shade, 0, 0)) for shade in (0, 200))
    first.save(path, "WEBP", save_all=True, append_images=[second], quality=0, method=0)
    before = "import numpy, cv2\nfrom fgd_yolo.runtime.images import read_image, PixelBudget"
    read = f"image = read_image({str(path)!r}, PixelBudget({{}}))"
    assert grown_mb(read.format(16.1), before) < 16.1 * 6  # which decoding it would exceed
    assert grown_mb(read.format(33) + "; assert image is not None", before) < 33 * 6
