from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml

from fgd_yolo.errors import FGDError
from fgd_yolo.export.images import COMPARED_IMAGES, load_inputs
from fixtures import draw_dataset


def test_an_image_is_centred_on_grey_and_turned_to_rgb(tmp_path):
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[...] = (255, 0, 51)  # blue, green, red
    cv2.imwrite(str(tmp_path / "wide.png"), image)
    (array,) = load_inputs(160, data=None, recorded=None, files=[tmp_path / "wide.png"])
    assert array.shape == (3, 160, 160)
    assert array.dtype == np.float32
    assert array[:, 80, 80] == pytest.approx([51 / 255, 0, 1])
    assert array[:, 39, 80] == pytest.approx([114 / 255] * 3)
    assert array[:, 40, 80] == pytest.approx([51 / 255, 0, 1])
    assert array[:, 120, 80] == pytest.approx([114 / 255] * 3)


def test_the_val_split_that_the_checkpoint_names_is_used(tiny_data):
    assert len(load_inputs(96, data=None, recorded=str(tiny_data), files=None)) == 6


def test_a_long_val_split_gives_eight_images_from_its_first_to_its_last(tmp_path):
    data = draw_dataset(tmp_path / "long", train=1, val=20)
    inputs = load_inputs(96, data=data, recorded=None, files=None)
    files = sorted((tmp_path / "long/images/val").iterdir())
    ends = load_inputs(96, data=None, recorded=None, files=[files[0], files[-1]])
    assert len(inputs) == COMPARED_IMAGES
    assert np.array_equal(inputs[0], ends[0])
    assert np.array_equal(inputs[-1], ends[1])


def test_a_split_may_be_a_list_in_a_text_file(tiny_data, tmp_path):
    images = sorted((tiny_data.parent / "images/val").iterdir())[:2]
    (tmp_path / "val.txt").write_text("".join(f"{image}\n" for image in images))
    description = {**yaml.safe_load(tiny_data.read_text()), "val": str(tmp_path / "val.txt")}
    (tmp_path / "listed.yaml").write_text(yaml.safe_dump(description))
    assert len(load_inputs(96, data=tmp_path / "listed.yaml", recorded=None, files=None)) == 2


def test_an_image_that_cannot_be_read_is_left_out(tiny_data, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    good = next((tiny_data.parent / "images/val").iterdir())
    assert len(load_inputs(96, data=None, recorded=None, files=[tmp_path / "broken.png", good])) == 1
    with pytest.raises(FGDError, match="none of the 1 images"):
        load_inputs(96, data=None, recorded=None, files=[tmp_path / "broken.png"])


@pytest.mark.parametrize("recorded", [None, "gone.yaml", "https://example.com/data.yaml", "data.zip", {"train": "x"}])
def test_without_images_on_this_disk_the_advice_is_to_pass_data(recorded):
    with pytest.raises(FGDError, match=r"pass data= \(--data\)") as caught:
        load_inputs(96, data=None, recorded=recorded, files=None)
    assert "\n" not in str(caught.value)


def test_a_download_script_in_the_data_is_never_run(tmp_path):
    description = {"path": str(tmp_path), "train": "gone", "val": "gone", "names": ["a"]}
    description["download"] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(FGDError, match="pass data="):
        load_inputs(96, data=None, recorded=str(tmp_path / "script.yaml"), files=None)
    assert not (tmp_path / "ran").exists()
