"""The digest of a data set says what would be trained on, wherever it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest
import yaml

from fgd_yolo.datasets import scan_dataset
from fixtures import draw_dataset


def digest_of(data: Path) -> str:
    return scan_dataset(str(data), {}).scan.digest


def moved(folder: Path, target: Path) -> Path:
    """Copy a data set to another folder and update its YAML."""
    shutil.copytree(folder, target)
    description = yaml.safe_load((target / "tiny.yaml").read_text())
    (target / "tiny.yaml").write_text(yaml.safe_dump({**description, "path": str(target)}))
    return target / "tiny.yaml"


def relabelled(folder: Path) -> None:
    """Give an object another class: the file keeps its size."""
    label = next(path for path in sorted(folder.rglob("labels/val/*.txt")) if path.stat().st_size)
    text = label.read_text()
    label.write_text(("1" if text[0] != "1" else "2") + text[1:])


def without_images(folder: Path) -> None:
    for image in sorted((folder / "images/train").iterdir())[:6]:
        image.unlink()


def other_image(folder: Path) -> None:
    image = next((folder / "images/train").iterdir())
    cv2.imwrite(str(image), cv2.imread(str(image)) // 2)


def other_image_of_the_same_size(folder: Path) -> None:
    """Mirror an uncompressed image: its file keeps its size."""
    image = next((folder / "images/train").glob("*.bmp"))
    size = image.stat().st_size
    cv2.imwrite(str(image), cv2.imread(str(image))[:, ::-1])
    assert image.stat().st_size == size


def uncompressed(data: Path) -> None:
    for image in (data.parent / "images/train").iterdir():
        cv2.imwrite(str(image.with_suffix(".bmp")), cv2.imread(str(image)))
        image.unlink()


@pytest.mark.parametrize("change", [relabelled, without_images, other_image])
def test_the_digest_of_data_depends_on_its_content_and_not_on_its_folder(change, tmp_path):
    data = draw_dataset(tmp_path / "one")
    first = digest_of(data)
    there = moved(tmp_path / "one", tmp_path / "elsewhere" / "copy")
    assert digest_of(there) == first
    change(there.parent)
    assert digest_of(there) != first == digest_of(data)


def test_an_image_replaced_by_one_of_the_same_size_changes_the_digest(tmp_path):
    data = draw_dataset(tmp_path / "one")
    uncompressed(data)
    there = moved(tmp_path / "one", tmp_path / "there")
    other_image_of_the_same_size(there.parent)
    assert digest_of(there) != digest_of(data)


def test_of_many_images_evenly_spaced_ones_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr("fgd_yolo.datasets.scanning.SAMPLED_IMAGES", 5)
    data = draw_dataset(tmp_path / "one", train=12, val=12)
    opened = []
    monkeypatch.setattr("fgd_yolo.datasets.scanning.middle_of_file", lambda path, _: opened.append(path.name) or b"")
    digest_of(data)
    assert opened == ["00.png", "03.png", "06.png", "09.png"] * 3  # the val images have a digest of their own


def test_data_with_image_lists_has_the_same_digest_in_another_folder(tmp_path):
    digests = []
    for place in ("one", "elsewhere/copy"):
        data = draw_dataset(tmp_path / place / "set")
        description = yaml.safe_load(data.read_text())
        for split in ("train", "val"):
            images = sorted((data.parent / "images" / split).iterdir())
            (tmp_path / place / f"{split}.txt").write_text("\n".join(map(str, images)))
            description[split] = str(tmp_path / place / f"{split}.txt")
        data.write_text(yaml.safe_dump({**description, "path": str(tmp_path / "nowhere")}))
        digests.append(digest_of(data))
    assert digests[0] == digests[1]
