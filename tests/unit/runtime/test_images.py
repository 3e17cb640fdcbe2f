from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.images import UnreadableImageError, as_bgr, convert_channels, load_image, try_load_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from memory import grown_mb

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 9, 3), np.uint16)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "ünï 图 [1].png"])
def test_a_colour_file_is_read_as_it_was_written(tmp_path, name):
    np.testing.assert_array_equal(try_load_image(save(tmp_path / name, IMAGE)), IMAGE)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped(tmp_path, suffix):
    alpha = np.dstack([IMAGE, np.arange(54, dtype=np.uint8).reshape(6, 9)])
    np.testing.assert_array_equal(try_load_image(save(tmp_path / f"a{suffix}", alpha)), IMAGE)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_values_are_reduced_to_the_high_byte(tmp_path, suffix):
    np.testing.assert_array_equal(try_load_image(save(tmp_path / f"a{suffix}", DEEP)), DEEP // 256)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_grey_file_becomes_three_equal_channels(tmp_path, suffix):
    grey = IMAGE[..., 0]
    np.testing.assert_array_equal(try_load_image(save(tmp_path / f"a{suffix}", grey)), np.dstack([grey] * 3))


def test_an_image_is_rotated_by_its_exif_orientation(tmp_path):
    data = cv2.imencode(".jpg", np.full((40, 80, 3), (10, 200, 90), np.uint8))[1].tobytes()
    # Orientation 6 (tag 0x0112): the camera was held upright, so the image is rotated by 90 degrees.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    path = tmp_path / "turned.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert try_load_image(path).shape == (80, 40, 3)


def test_images_of_one_pixel_and_of_eight_thousand_columns_are_read(tmp_path):
    assert try_load_image(save(tmp_path / "one.png", IMAGE[:1, :1])).shape == (1, 1, 3)
    assert try_load_image(save(tmp_path / "wide.png", np.zeros((3, 8000, 3), np.uint8))).shape == (3, 8000, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_file_that_is_not_an_image_gives_none(tmp_path, suffix):
    data = save(tmp_path / f"complete{suffix}", IMAGE).read_bytes()
    for name, content in {"empty": b"", "text": b"no image", "start": data[:20]}.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        assert try_load_image(path) is None
    assert try_load_image(tmp_path / f"none{suffix}") is None
    assert try_load_image(tmp_path) is None


def test_a_header_of_absurd_size_is_none(tmp_path):
    data = bytearray(save(tmp_path / "a.bmp", IMAGE).read_bytes())
    data[18:26] = struct.pack("<ii", 2_000_000, 2_000_000)
    (tmp_path / "a.bmp").write_bytes(data)
    assert try_load_image(tmp_path / "a.bmp") is None


@pytest.mark.slow  # imports Ultralytics
def test_files_are_read_as_by_ultralytics(tmp_path):
    from ultralytics.utils.patches import imread

    grey, alpha = IMAGE[..., 0], np.dstack([IMAGE, IMAGE[..., :1]])
    images = {"grey": grey, "colour": IMAGE, "alpha": alpha, "deep": DEEP, "deep_grey": DEEP[..., 0]}
    for kind, image in images.items():
        for suffix in (".jpg", ".png", ".tif", ".bmp", ".webp"):
            path = save(tmp_path / f"{kind}{suffix}", image)
            np.testing.assert_array_equal(try_load_image(path), imread(path), err_msg=path.name)


def test_a_bgr_array_is_not_copied():
    np.testing.assert_array_equal(convert_channels(IMAGE, 3), IMAGE)
    assert np.shares_memory(convert_channels(IMAGE, 3), IMAGE)


def test_a_view_becomes_contiguous():
    crop = IMAGE[1:4, 2:5, ::-1]
    np.testing.assert_array_equal(convert_channels(crop, 3), crop)
    assert convert_channels(crop, 3).flags.c_contiguous


@pytest.mark.parametrize("grey", [IMAGE[..., 0], IMAGE[..., :1]])
def test_a_grey_array_becomes_three_equal_channels(grey):
    np.testing.assert_array_equal(convert_channels(grey, 3), np.dstack([IMAGE[..., 0]] * 3))


def test_an_array_loses_its_alpha_and_low_byte():
    np.testing.assert_array_equal(convert_channels(np.dstack([DEEP, DEEP[..., 0]]), 3), DEEP // 256)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((0, 5, 3), np.uint8), "has no pixels"),
        (np.zeros((5, 0), np.uint8), "has no pixels"),
        (np.zeros((5, 5, 3), np.float32), "must be uint8, got float32"),
        (np.zeros((5, 5, 3), np.int64), "must be uint8, got int64"),
        (np.zeros((5, 5, 3), bool), "must be uint8, got bool"),
        (np.zeros((3, 5, 5), np.uint8), r"must have the shape .* got \(3, 5, 5\)"),
        (np.zeros((5, 5, 2), np.uint8), r"must have the shape .* got \(5, 5, 2\)"),
        (np.zeros((1, 5, 5, 3), np.uint8), r"must have the shape .* got \(1, 5, 5, 3\)"),
        (np.zeros(5, np.uint8), r"must have the shape .* got \(5,\)"),
        (None, "must be a path or an array .* got NoneType"),
        ([[1, 2], [3, 4]], "must be a path or an array .* got list"),
    ],
)
def test_an_array_that_is_not_an_image_is_refused_in_one_line(image, complaint):
    with pytest.raises(FGDError, match=complaint) as caught:
        convert_channels(image, 3)
    assert "\n" not in str(caught.value)


def test_an_array_becomes_grey_for_a_model_of_one_channel():
    blue, green, red = (IMAGE[..., channel].astype(float) for channel in range(3))
    expected = 0.114 * blue + 0.587 * green + 0.299 * red  # of ITU-R BT.601, as OpenCV
    for image in (IMAGE, np.dstack([IMAGE, IMAGE[..., :1]])):
        grey = convert_channels(image, 1)
        assert (grey.shape, grey.dtype) == ((6, 9, 1), np.uint8)
        np.testing.assert_allclose(grey[..., 0], expected, atol=0.51)
    for image in (IMAGE[..., 0], IMAGE[..., :1], np.uint16(IMAGE[..., :1]) * 256 + 255):
        np.testing.assert_array_equal(convert_channels(image, 1), IMAGE[..., :1])
    with pytest.raises(FGDError, match=r"\(height, width, 1 channel\) for this model, got \(6, 9, 5\)"):
        convert_channels(np.zeros((6, 9, 5), np.uint8), 1)


@pytest.mark.parametrize("channels", [2, 4, 10])
def test_an_array_for_a_model_of_other_channels_must_have_them(channels):
    image = np.random.default_rng(0).integers(0, 256, (6, 9, channels), np.uint8)
    assert np.shares_memory(convert_channels(image, channels), image)
    for shape in ((6, 9), (6, 9, 1), (6, 9, 3), (6, 9, channels + 1)):
        shown = rf"\(height, width, {channels} channels\) for this model, got \({', '.join(map(str, shape[:3]))}"
        with pytest.raises(FGDError, match=shown):
            convert_channels(np.zeros(shape, np.uint8), channels)


@pytest.mark.slow  # imports Ultralytics
def test_an_image_of_any_channels_is_drawn_in_colour_as_by_ultralytics():
    from ultralytics.utils.plotting import Annotator

    for channels in (1, 2, 3, 4, 10):
        image = np.random.default_rng(0).integers(0, 256, (6, 9, channels), np.uint8)
        np.testing.assert_array_equal(as_bgr(image), Annotator(image.copy()).im)
    assert as_bgr(IMAGE[..., 0]).shape == (6, 9, 3)


def save_pages(path: Path, image: np.ndarray) -> Path:
    """Write the channels of an image as the pages of a grey TIFF, as Ultralytics' multispectral data sets have them."""
    assert cv2.imwritemulti(str(path), [np.ascontiguousarray(image[..., page]) for page in range(image.shape[2])])
    return path


def channels_of(count: int, dtype=np.uint8) -> np.ndarray:
    high = np.iinfo(dtype).max
    return np.random.default_rng(count).integers(0, high, (12, 17, count), dtype, endpoint=True)


@pytest.mark.parametrize("channels", [2, 4, 10])
def test_the_pages_of_a_grey_tiff_are_the_channels_of_an_image(channels, tmp_path):
    image, deep = channels_of(channels), channels_of(channels, np.uint16)
    pages = save_pages(tmp_path / "pages.tif", image)
    np.testing.assert_array_equal(load_image(pages, channels=channels), image)
    np.testing.assert_array_equal(load_image(save_pages(tmp_path / "deep.tif", deep), channels=channels), deep // 256)
    np.testing.assert_array_equal(load_image(pages, channels=1), image[..., :1])
    np.testing.assert_array_equal(load_image(pages), np.repeat(image[..., :1], 3, axis=2))


def test_four_channels_keep_the_order_of_the_file(tmp_path):
    image = channels_of(4)
    for suffix in (".png", ".tif"):
        np.testing.assert_array_equal(load_image(save(tmp_path / f"a{suffix}", image), channels=4), image)


@pytest.mark.parametrize(
    ("name", "image", "channels", "reason"),
    [
        ("a.png", IMAGE, 4, "it has 3 channels, but the model takes 4"),
        ("a.jpg", IMAGE, 10, "it has 3 channels, but the model takes 10"),
        ("a.png", IMAGE[..., 0], 4, "it has 1 channel, but the model takes 4"),
        ("a.tif", IMAGE, 4, "it has 3 channels, but the model takes 4"),
        ("a.tif", IMAGE[..., 0], 4, "it has 1 channel, but the model takes 4"),
        ("a.tif", channels_of(4), 10, "it has 4 channels, but the model takes 10"),
        ("a.tif", channels_of(4).astype(np.float32), 4, "its values are float32, but must have 8 or 16 bits"),
    ],
)
def test_a_file_of_other_channels_is_refused_with_both_numbers(name, image, channels, reason, tmp_path):
    path = save(tmp_path / name, image)
    with pytest.raises(UnreadableImageError, match=f"^{reason}$"):
        load_image(path, channels=channels)
    assert try_load_image(path, channels=channels) is None


def test_pages_that_are_not_the_channels_of_the_model_are_refused(tmp_path):
    with pytest.raises(UnreadableImageError, match="it has 10 grey pages, but the model takes 4 channels"):
        load_image(save_pages(tmp_path / "ten.tif", channels_of(10)), channels=4)
    with pytest.raises(UnreadableImageError, match="it has 3 grey pages, but the model takes 4 channels"):
        load_image(save_pages(tmp_path / "three.tif", channels_of(3)), channels=4)
    assert cv2.imwritemulti(str(tmp_path / "sizes.tif"), [IMAGE[..., 0], IMAGE[:4, :, 0]])
    with pytest.raises(UnreadableImageError, match="its pages have different sizes"):
        load_image(tmp_path / "sizes.tif", channels=2)


def test_all_pages_that_are_decoded_count_for_the_budget(tmp_path):
    path = save_pages(tmp_path / "pages.tif", np.zeros((100, 100, 10), np.uint8))  # 60 bytes a pixel
    assert load_image(path, PixelBudget(0.1), channels=10).shape == (100, 100, 10)
    with pytest.raises(ImageTooLargeError, match=r"take 0\.6 MB to decode, above the limit of 0\.594"):
        load_image(path, PixelBudget(0.099), channels=10)
    assert load_image(path, PixelBudget(0.01)).shape == (100, 100, 3)


def gradient(height: int = 60, width: int = 90) -> np.ndarray:
    """Return strong colours that JPEG cannot represent exactly."""
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.slow  # imports Ultralytics
@pytest.mark.parametrize("channels", [1, 2, 4, 10])
def test_files_of_any_channels_are_read_as_by_ultralytics(channels, tmp_path):
    from ultralytics.data.loaders import LoadImagesAndVideos

    if channels == 1:
        images = {"grey": IMAGE[..., 0], "colour": gradient(), "alpha": channels_of(4), "deep": DEEP[..., 0]}
        paths = [
            save(tmp_path / f"{kind}{suffix}", image)
            for kind, image in images.items()
            for suffix in (".jpg", ".png", ".tif", ".bmp", ".webp", ".avif")
            if (kind, suffix) != ("deep", ".avif")
        ]
        paths.append(save_pages(tmp_path / "pages.tif", channels_of(4)))
    else:
        paths = [save_pages(tmp_path / "pages.tif", channels_of(channels))]
        paths.append(save_pages(tmp_path / "deep_pages.tif", channels_of(channels, np.uint16)))
    if channels == 4:
        paths += [save(tmp_path / f"a{suffix}", channels_of(4)) for suffix in (".png", ".tif", ".webp")]
        paths += [save(tmp_path / f"deep{suffix}", channels_of(4, np.uint16)) for suffix in (".png", ".tif")]
    for path in paths:
        (expected,) = next(iter(LoadImagesAndVideos(str(path), channels=channels)))[1]
        assert expected.shape[2] == channels
        np.testing.assert_array_equal(load_image(path, channels=channels), expected, err_msg=path.name)


@pytest.mark.slow  # imports Ultralytics
def test_arrays_are_converted_as_by_ultralytics():
    from ultralytics.data.loaders import LoadPilAndNumpy

    for channels, counts in {1: (1, 3, 4), 3: (1, 3, 4), 4: (4,), 10: (10,)}.items():
        for count in counts:
            image = channels_of(count)
            np.testing.assert_array_equal(
                convert_channels(image, channels), LoadPilAndNumpy._single_check(image, channels)
            )


QUARTERS = np.kron(np.random.default_rng(5).integers(0, 256, (2, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG2000": {}}
LOSSY = {"JPEG": {"quality": 98, "subsampling": 0}, "AVIF": {"quality": 98}}


def rotated_image(kind: str, orientation: int, path: Path) -> Path:
    """Save an image with an EXIF orientation, which in AVIF and HEIC becomes the properties `irot` and `imir`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = path / f"{orientation}.{kind.lower().replace('jpeg2000', 'jp2')}"
    Image.fromarray(QUARTERS).save(path, kind, exif=exif, **{**LOSSLESS, **LOSSY}[kind])
    return path


def upright(path: Path) -> np.ndarray:
    """Return an image as Pillow rotates it, BGR."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG", "AVIF"])
def test_every_format_is_rotated_and_mirrored_as_by_pillow(tmp_path, kind, orientation):
    path = rotated_image(kind, orientation, tmp_path)
    tolerance = 0 if kind in LOSSLESS else 2  # OpenCV and Pillow have different builds of the decoder
    assert np.abs(upright(path).astype(int) - try_load_image(path)).max() <= tolerance


def test_a_rotated_avif_has_the_same_pixels_as_in_ultralytics(tmp_path):
    from ultralytics.utils.patches import imread

    for orientation in (1, 4, 6, 7):
        path = rotated_image("AVIF", orientation, tmp_path)
        np.testing.assert_array_equal(try_load_image(path), imread(path))


HEIC = Path(__file__).parents[2] / "data" / "turned.heic"


def test_a_photo_of_an_iphone_is_rotated_by_its_properties():
    # 64 x 32 px, blue on its left and red on its right, with irot for a quarter to the right.
    image = load_image(HEIC)
    assert image.shape == (64, 32, 3)
    assert (image[:28].argmax(axis=2) == 0).all() and (image[36:].argmax(axis=2) == 2).all()


@pytest.mark.parametrize(
    ("missing", "what"), [("pi_heif", r"HEIC .*pip install 'fgd_yolo\[heic\]'"), ("PIL", "pillow")]
)
def test_an_image_that_needs_a_missing_package_names_it(monkeypatch, missing, what):
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnreadableImageError, match=what):
        load_image(HEIC)
    assert try_load_image(HEIC) is None


def test_an_image_above_the_budget_is_an_error_with_its_size_and_what_to_do(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((300, 400, 3), np.uint8))
    assert load_image(path, PixelBudget(0.12)).shape == (300, 400, 3)
    with pytest.raises(
        ImageTooLargeError, match=r"^400 x 300 px are 0\.12 megapixels, above the limit of 0\.119; raise --max-"
    ):
        load_image(path, PixelBudget(0.119))
    assert try_load_image(path, PixelBudget(0.119)) is None


def test_a_file_that_is_longer_than_an_image_may_be_is_not_read(tmp_path):
    path = save(tmp_path / "a.png", IMAGE)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a sparse file, which takes no space on the disk
    with pytest.raises(ImageTooLargeError, match=r"^1\.1e\+06 MB are above the limit of 900 for an image"):
        load_image(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ImageTooLargeError, match="are above the limit of 6 for an image"):
        load_image(path, PixelBudget(1))


def bomb(kind: str, side: int) -> bytes:
    """Return a small file of a large image."""
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
def test_the_cost_of_a_jpeg_2000_in_tiny_blocks_includes_their_records(tmp_path, blocks):
    path = tmp_path / "blocks.jp2"
    Image.new("RGB", (2000, 1500)).save(path, "JPEG2000", **blocks)
    before = "import numpy, cv2\nfrom fgd_yolo.runtime.images import try_load_image, PixelBudget"
    read = f"image = try_load_image({str(path)!r}, PixelBudget({{}}))"
    assert grown_mb(read.format(6), before) < 36  # it would take more than 120 MB
    read_mb = grown_mb(read.format(60) + "; assert image is not None", before)
    assert 60 < read_mb < 60 * 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "AVIF", "JPEG2000", "BMP", "TIFF of 40 pages"])
def test_an_image_takes_no_more_memory_than_its_budget(tmp_path, kind):
    (tmp_path / "bomb").write_bytes(bomb(kind, 4000))
    before = "import numpy, cv2, PIL.AvifImagePlugin\nfrom fgd_yolo.runtime.images import try_load_image, PixelBudget"
    read = f"image = try_load_image({str(tmp_path / 'bomb')!r}, PixelBudget({{}}))"
    reserve = 20 + (tmp_path / "bomb").stat().st_size / 1e6
    assert grown_mb(read.format(1 if "40" in kind else 15), before) < 1 * 6 + reserve
    megapixels = 0.25 if "40" in kind else 16
    cost = {"GIF": 12, "AVIF": 14, "JPEG2000": 8.2}.get(kind, 6)  # bytes per pixel of that format
    enough = megapixels * max(1, cost / 6) + 0.01
    assert grown_mb(read.format(enough) + "; assert image is not None", before) < 1.1 * 6 * enough + reserve


@pytest.mark.slow
def test_the_cost_of_an_animated_webp_includes_the_canvases_of_its_decoder(tmp_path):
    path = tmp_path / "animated.webp"
    first, second = (Image.new("RGB", (4000, 4000), (shade, 0, 0)) for shade in (0, 200))
    first.save(path, "WEBP", save_all=True, append_images=[second], quality=0, method=0)
    before = "import numpy, cv2\nfrom fgd_yolo.runtime.images import try_load_image, PixelBudget"
    read = f"image = try_load_image({str(path)!r}, PixelBudget({{}}))"
    assert grown_mb(read.format(16.1), before) < 16.1 * 6  # decoding it would take more
    assert grown_mb(read.format(33) + "; assert image is not None", before) < 33 * 6
