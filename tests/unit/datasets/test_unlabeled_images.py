"""Data sets of images without labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgd_yolo.errors import FGDError
from opened_files import opened_files


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with three images of 40 x 20, whose label files no reader would accept."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for name in "abc":
        Image.fromarray(np.full((20, 40, 3), 90, np.uint8)).save(tmp_path / f"images/{name}.jpg")
        (tmp_path / f"labels/{name}.txt").write_text("0 nonsense\n")
    return tmp_path / "images"


def build(folder: Path, task: str = "detect", **changes):
    from ultralytics.cfg import get_cfg
    from ultralytics.data import build_yolo_dataset

    from fgd_yolo.datasets.unlabeled_images import without_labels

    arguments = get_cfg(overrides={"task": task, "imgsz": 64, **changes})
    data = {"names": {0: "a"}, "channels": 3, "nc": 1, "kpt_shape": [3, 3]}
    with without_labels():
        return build_yolo_dataset(arguments, str(folder), 2, data, mode="train")


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_no_label_file_is_opened_and_no_cache_is_written(images, task):
    with opened_files() as opened:
        dataset = build(images, task)
    assert [len(label["cls"]) for label in dataset.labels] == [0, 0, 0]
    assert any(path.endswith("a.jpg") for path in opened)
    assert not [path for path in opened if path.endswith(".txt")]
    assert sorted(path.name for path in images.parent.rglob("*") if path.is_file()) == [
        *("a.jpg", "a.txt", "b.jpg", "b.txt", "c.jpg", "c.txt")
    ]
    sample = dataset[0]
    assert sample["img"].shape == (3, 64, 64) and not len(sample["bboxes"])


def test_the_same_folder_with_labels_is_read_as_ever_afterwards(images):
    from ultralytics.data import YOLODataset

    build(images)
    with pytest.raises((RuntimeError, ValueError)):  # of the label files
        YOLODataset(img_path=str(images), imgsz=64, data={"names": {0: "a"}, "channels": 3})


def test_an_image_that_cannot_be_opened_is_left_out_and_counted(images, caplog):
    (images / "b.jpg").write_bytes(b"no image")
    dataset = build(images)
    assert [Path(file).name for file in dataset.im_files] == ["a.jpg", "c.jpg"]
    for name in "ac":
        (images / f"{name}.jpg").write_bytes(b"")
    with pytest.raises(FGDError, match=r"none of the 3 unlabelled frames can be read, such as .*a\.jpg"):
        build(images)


def test_a_turned_image_has_the_shape_that_ultralytics_reads(images):
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(images / "a.jpg", exif=exif)
    dataset = build(images)
    assert [label["shape"] for label in dataset.labels] == [(40, 20), (20, 40), (20, 40)]
    assert dataset.load_image(0)[1] == (40, 20)
