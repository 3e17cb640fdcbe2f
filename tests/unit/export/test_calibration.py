from __future__ import annotations

import tempfile

import cv2
import numpy as np
import pytest
from onnx import shape_inference

from fgd_yolo.errors import FGDError
from fgd_yolo.export.calibration import calibration_images, measure_ranges
from fgd_yolo.export.decode_tail import without_decode_tail
from fgd_yolo.export.sample_images import input_batches, read_images
from fixtures import draw_dataset
from graphs import build, detector, node, run


@pytest.fixture
def data(tmp_path):
    return draw_dataset(tmp_path / "data", train=20, val=3)


def test_the_train_split_is_used_and_never_the_val_split(data):
    images = calibration_images(data)
    assert sorted(images.paths) == sorted((data.parent / "images/train").iterdir())
    assert images.unreadable == 0
    assert calibration_images(str(data)) == images


def test_a_long_split_is_spread_from_its_first_image_to_its_last(data):
    files = sorted((data.parent / "images/train").iterdir())
    images = calibration_images(data, count=16)
    assert len(images.paths) == 16
    assert (images.paths[0], images.paths[-1]) == (files[0], files[-1])


def test_unreadable_images_are_skipped_and_counted(data):
    files = sorted((data.parent / "images/train").iterdir())
    for path in files[3:5]:
        path.write_bytes(b"no image")
    images = calibration_images(data)
    assert (len(images.paths), images.unreadable) == (18, 2)
    assert not {files[3], files[4]} & set(images.paths)


def test_too_few_images_are_an_error_that_says_how_many(data):
    for path in sorted((data.parent / "images/train").iterdir())[:5]:
        path.write_bytes(b"no image")
    with pytest.raises(FGDError, match=r"at least 16 images, but only 15 of the 20 .* pass data= \(--data\)") as caught:
        calibration_images(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["gone.yaml", "https://example.com/data.yaml", None])
def test_missing_data_asks_for_train_images(given):
    with pytest.raises(FGDError, match=r"to calibrate int8 on.*whose train images are on this disk"):
        calibration_images(given)


def test_the_hash_depends_on_the_images_and_not_on_their_paths(data, tmp_path):
    same = draw_dataset(tmp_path / "elsewhere", train=20, val=3)
    folder = same.parent / "images/train"
    (folder / "00.png").rename(folder / "zz.png")
    assert calibration_images(same).sha256 == calibration_images(data).sha256
    image = cv2.imread(str(folder / "zz.png"))
    image[0, 0] ^= 1
    cv2.imwrite(str(folder / "zz.png"), image)
    assert calibration_images(same).sha256 != calibration_images(data).sha256


@pytest.fixture
def images(tmp_path):
    """Three images of one colour each, twice as wide as high; the middle one is blue."""
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, colour in zip(paths, [(0, 0, 0), (255, 51, 0), (102, 102, 102)], strict=True):
        cv2.imwrite(str(path), np.full((20, 40, 3), colour, dtype=np.uint8))
    return paths


def test_an_input_is_letterboxed_rgb_between_0_and_1(images):
    _, blue, _ = input_batches(detector(shape=(1, 3, 32, 32)), read_images(images, "reading"), 64)
    assert (blue.shape, blue.dtype) == ((1, 3, 32, 32), np.float32)
    assert blue[0, :, 16, 16] == pytest.approx([0, 51 / 255, 1])
    assert blue[0, :, 2, 16] == pytest.approx([114 / 255] * 3)


def test_a_dynamic_size_is_the_requested_one(images):
    dynamic = detector(shape=("batch", 3, "height", "width"))
    assert next(input_batches(dynamic, read_images(images, "reading"), (64, 96))).shape == (1, 3, 64, 96)
    assert next(input_batches(dynamic, read_images(images, "reading"), 64)).shape == (1, 3, 64, 64)


def test_the_last_batch_of_a_fixed_size_is_filled_up(images):
    first, last = input_batches(detector(shape=(2, 3, 32, 32)), read_images(images, "reading"), 32)
    assert first.shape == last.shape == (2, 3, 32, 32)
    assert np.array_equal(last[0], last[1])
    assert first[1, 2, 16, 16] == 1


def test_ranges_are_the_extremes_over_all_images(images):
    nodes = [node("Mul", "images scale", "scaled"), node("Conv", "scaled w", "sums")]
    constants = {"scale": np.array(-2, "f4"), "w": np.ones((1, 3, 1, 1), "f4")}
    model = build(nodes, constants, {"images": [1, 3, 32, 32]}, ["sums"])
    ranges = measure_ranges(shape_inference.infer_shapes(model), images, 32)
    assert ranges["images"] == (0, 1)
    assert ranges["scaled"] == (-2, 0)
    assert ranges["sums"] == pytest.approx((-6 * 114 / 255, 0))  # the grey border outweighs every image
    assert "w" not in ranges


def test_every_tensor_of_the_body_has_a_range_that_holds_its_values(images):
    body = without_decode_tail(detector())
    ranges = measure_ranges(body, images, 32)
    for image in input_batches(body, read_images(images, "reading"), 32):
        for value, output in zip(body.graph.output, run(body, image), strict=True):
            lowest, highest = ranges[value.name]
            assert lowest - 1e-5 <= output.min() <= output.max() <= highest + 1e-5
    assert {"images", "model.0/act", "model.2/conv", "joined", "box", "cls"} <= set(ranges)


def test_nothing_is_left_behind(images, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    measure_ranges(without_decode_tail(detector()), images, 32)
    assert not list((tmp_path / "tmp").iterdir())
    assert not list((tmp_path / "here").iterdir())
