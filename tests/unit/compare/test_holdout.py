from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from fgd_yolo.compare.holdout import held_out_names, make_holdout
from fgd_yolo.errors import FGDError
from fixtures import file_names

NAMES = [f"{index:02}.png" for index in range(12)]


def test_the_first_names_by_digest_are_held_out():
    by_digest = sorted((hashlib.sha256(name.encode("utf-8")).hexdigest(), name) for name in NAMES)
    assert held_out_names(NAMES, 0.25) == {name for _, name in by_digest[:3]}


def test_the_choice_depends_on_names_alone_and_rounds_like_python():
    assert held_out_names(reversed(NAMES), 0.25) == held_out_names(NAMES, 0.25)
    assert len(held_out_names(NAMES[:10], 0.25)) == 2  # round(2.5)
    assert held_out_names(NAMES, 0.1) < held_out_names(NAMES, 0.5)
    # SHA-256 of "a", "b", "c" begins with ca, 3e, 2e.
    assert held_out_names("abc", 0.34) == {"c"} and held_out_names("abc", 0.67) == {"c", "b"}


def test_train_is_split_with_its_labels_and_val_is_not_read(tiny_data, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(tiny_data.parent, source)
    shutil.rmtree(source / "images/val")
    shutil.rmtree(source / "labels/val")
    description = yaml.safe_load(tiny_data.read_text())
    file = source / "tiny.yaml"
    file.write_text(yaml.safe_dump({**description, "path": str(source)}))

    made = yaml.safe_load(make_holdout(str(file), 0.25, tmp_path / "made").read_text())

    held_out = held_out_names(NAMES, 0.25)
    for split, expected in (("val", held_out), ("train", set(NAMES) - held_out)):
        images = tmp_path / "made/images" / split
        assert {name.partition("-")[2] for name in file_names(images)} == expected
        for image in images.iterdir():
            original = image.readlink()
            label = tmp_path / "made/labels" / split / f"{image.stem}.txt"
            assert original.parent == source / "images/train"
            assert label.read_text() == (source / f"labels/train/{original.stem}.txt").read_text()
    assert made["names"] == description["names"]


def test_images_of_the_same_name_in_two_folders_stay_two(tiny_data, tmp_path):
    source = tmp_path / "source"
    for folder in ("one", "two"):
        for kind in ("images", "labels"):
            shutil.copytree(tiny_data.parent / kind / "train", source / kind / folder)
    file = source / "twice.yaml"
    train = [str(source / "images/one"), str(source / "images/two")]
    file.write_text(
        yaml.safe_dump({"path": str(source), "train": train, "val": train, "names": {0: "a", 1: "b", 2: "c"}})
    )
    make_holdout(str(file), 0.25, tmp_path / "made")
    made = [len(file_names(tmp_path / "made/images" / split)) for split in ("train", "val")]
    assert sum(made) == 24 and made[1] % 2 == 0


@pytest.mark.parametrize(("part", "empty"), [(0.01, "val"), (0.99, "train")])
def test_a_fraction_that_leaves_a_split_empty_is_refused(tiny_data, part, empty):
    with pytest.raises(FGDError, match=f"leaves no {empty} image"):
        make_holdout(str(tiny_data), part, Path("made"))


def test_unreadable_data_is_a_one_line_error():
    with pytest.raises(FGDError, match=r"nowhere\.yaml cannot be used"):
        make_holdout("nowhere.yaml", 0.2, Path("made"))
