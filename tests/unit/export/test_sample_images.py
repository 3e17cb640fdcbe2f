from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import yaml

from fgd_yolo.errors import FGDError
from fgd_yolo.export.sample_images import (
    COMPARED_IMAGES,
    images_to_compare,
    in_batches,
    letterbox_images,
    to_float_input,
)
from fixtures import draw_dataset, of_channels, save_channels


def compared(data=None, files=None):
    return images_to_compare(data, files)[0]


def test_an_image_is_centred_on_grey_and_turned_to_rgb(tmp_path):
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[...] = (255, 0, 51)  # blue, green, red
    cv2.imwrite(str(tmp_path / "wide.png"), image)
    pixels = letterbox_images(compared(files=[tmp_path / "wide.png"]), 160, 160)
    assert (pixels.shape, pixels.dtype) == ((1, 160, 160, 3), np.uint8)
    assert list(pixels[0, 80, 80]) == [255, 0, 51]
    (array,) = to_float_input(pixels)
    assert array.shape == (3, 160, 160)
    assert array.dtype == np.float32
    assert array[:, 80, 80] == pytest.approx([51 / 255, 0, 1])
    assert array[:, 39, 80] == pytest.approx([114 / 255] * 3)
    assert array[:, 40, 80] == pytest.approx([51 / 255, 0, 1])
    assert array[:, 120, 80] == pytest.approx([114 / 255] * 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_read_for_the_model_and_keep_their_order(channels, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save_channels(tmp_path / "a.png", image, channels)
    images, unreadable = images_to_compare(None, [path], channels=channels)
    assert unreadable == 0 and np.array_equal(images[0], of_channels(image, channels))
    pixels = letterbox_images(images, 64, 64)
    (array,) = to_float_input(pixels)
    for channel in range(channels):
        assert np.array_equal(array[channel], images[0][..., channel].astype(np.float32) / np.float32(255))
    with pytest.raises(FGDError, match=rf"none of the 1 images .*: it has {channels} .*, but the model takes 5"):
        images_to_compare(None, [path], channels=5)


def test_a_letterbox_need_not_be_square():
    pixels = letterbox_images([np.zeros((40, 80, 3), dtype=np.uint8)], 64, 96)
    assert pixels.shape == (1, 64, 96, 3)
    assert pixels[0, 7].min() == 114 and pixels[0, 8].max() == 0  # 96 wide, so 48 high: 8 above and below


def test_the_last_batch_is_filled_up_with_the_first_images():
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    assert [list(batch.ravel()) for batch in in_batches(pixels, 2)] == [[0, 1], [2, 3], [4, 0]]
    assert [list(batch.ravel()) for batch in in_batches(pixels[:1], 3)] == [[0, 0, 0]]
    assert [list(batch.ravel()) for batch in in_batches(pixels, 5)] == [[0, 1, 2, 3, 4]]


def test_the_val_split_that_the_checkpoint_names_is_used(tiny_data):
    assert len(compared(str(tiny_data))) == 6


def test_a_long_val_split_gives_eight_images_from_its_first_to_its_last(tmp_path):
    data = draw_dataset(tmp_path / "long", train=1, val=20)
    inputs = compared(data)
    files = sorted((tmp_path / "long/images/val").iterdir())
    ends = compared(files=[files[0], files[-1]])
    assert len(inputs) == COMPARED_IMAGES
    assert np.array_equal(inputs[0], ends[0])
    assert np.array_equal(inputs[-1], ends[1])


def test_a_split_may_be_a_list_in_a_text_file(tiny_data, tmp_path):
    images = sorted((tiny_data.parent / "images/val").iterdir())[:2]
    (tmp_path / "val.txt").write_text("".join(f"{image}\n" for image in images))
    description = {**yaml.safe_load(tiny_data.read_text()), "val": str(tmp_path / "val.txt")}
    (tmp_path / "listed.yaml").write_text(yaml.safe_dump(description))
    assert len(compared(tmp_path / "listed.yaml")) == 2


def test_an_image_that_cannot_be_read_is_skipped_and_counted(tiny_data, tmp_path, capfd):
    (tmp_path / "broken.png").write_text("no image")
    good = next((tiny_data.parent / "images/val").iterdir())
    images, unreadable = images_to_compare(None, files=[tmp_path / "broken.png", good, "gone.jpg"])
    assert (len(images), unreadable) == (1, 2)
    with pytest.raises(FGDError, match="none of the 1 images"):
        compared(files=[tmp_path / "broken.png"])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("recorded", [None, "gone.yaml", "https://example.com/data.yaml", "data.zip", {"train": "x"}])
def test_without_images_on_this_disk_the_advice_is_to_pass_data(recorded):
    with pytest.raises(FGDError, match=r"pass data= \(--data\)") as caught:
        compared(recorded)
    assert "\n" not in str(caught.value)


def test_a_download_script_in_the_data_is_never_run(tmp_path):
    description = {"path": str(tmp_path), "train": "gone", "val": "gone", "names": ["a"]}
    description["download"] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(FGDError, match="pass data="):
        compared(str(tmp_path / "script.yaml"))
    assert not (tmp_path / "ran").exists()


def test_messages_of_ultralytics_about_missing_data_are_not_repeated(tmp_path, monkeypatch):
    messages = []
    handler = logging.Handler()
    handler.emit = messages.append
    monkeypatch.setattr(logging.getLogger("ultralytics"), "handlers", [handler])
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump({"path": "gone", "train": "a", "val": "b", "names": ["a"]}))
    with pytest.raises(FGDError):
        compared(tmp_path / "gone.yaml")
    assert not messages
