"""What a run began with is compared with what is there now."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import cv2
import pytest
import yaml

from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.workflow.digests import DATA, TEACHER, Key, compare_keys, data_key, file_key, read_keys, record_keys
from fixtures import draw_dataset

HERE = {TEACHER: Key("abc", "/models/t.pt"), DATA: Key("def", "/data/d.yaml")}


def test_the_same_models_and_data_pass_wherever_they_lie(tmp_path, capsys):
    record_keys(tmp_path, HERE)
    compare_keys(tmp_path, {name: Key(key.key, "/elsewhere") for name, key in HERE.items()})
    assert read_keys(tmp_path) == HERE and capsys.readouterr().out == ""


@pytest.mark.parametrize("names", [[TEACHER], [DATA], [TEACHER, DATA]])
def test_what_differs_is_named_with_what_to_do(names, tmp_path):
    record_keys(tmp_path, HERE)
    found = HERE | {name: Key("other", f"/now/{name}") for name in names}
    with pytest.raises(FGDError, match=r"put back what it began with, or start a new run$") as error:
        compare_keys(tmp_path, found)
    for name in HERE:
        assert (f" {name} (then {HERE[name].shown}; now /now/{name})" in str(error.value)) == (name in names)
    assert read_keys(tmp_path) == HERE, "what differs is not taken over"


def test_what_was_not_known_yet_is_recorded_and_held_to_from_then_on(tmp_path):
    record_keys(tmp_path, {DATA: HERE[DATA]})
    compare_keys(tmp_path, {TEACHER: HERE[TEACHER]})
    assert read_keys(tmp_path) == HERE
    with pytest.raises(FGDError, match="another teacher"):
        compare_keys(tmp_path, {TEACHER: Key("other", "")})


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'{"data": {}}', b'{"data": 3}', bytes(range(256))])
def test_keys_that_are_gone_or_damaged_are_told_and_written_again(content, tmp_path, capsys):
    if content is not None:
        (tmp_path / "keys.json").write_bytes(content)
    compare_keys(tmp_path, HERE)
    assert "keys.json is missing or damaged" in capsys.readouterr().out
    assert json.loads((tmp_path / "keys.json").read_text())[DATA] == {"key": "def", "shown": "/data/d.yaml"}


def test_a_files_key_is_of_its_content(tmp_path):
    (tmp_path / "teacher.pt").write_bytes(b"teacher")
    assert file_key(tmp_path / "teacher.pt").key == sha256(b"teacher").hexdigest()
    with pytest.raises(FGDError, match=r"none\.pt cannot be read \(No such file or directory\): put it back"):
        file_key(tmp_path / "none.pt")


def key_of(data: Path) -> str:
    return data_key(scan_dataset(str(data), {})).key


def moved(folder: Path, target: Path) -> Path:
    """Copy a data set elsewhere and let its YAML name the new place."""
    shutil.copytree(folder, target)
    description = yaml.safe_load((target / "tiny.yaml").read_text())
    (target / "tiny.yaml").write_text(yaml.safe_dump({**description, "path": str(target)}))
    return target / "tiny.yaml"


def relabelled(folder: Path) -> None:
    """Give an object another class: the file is as long as before."""
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
    """Mirror an uncompressed picture: its file is as long as before."""
    image = next((folder / "images/train").glob("*.bmp"))
    size = image.stat().st_size
    cv2.imwrite(str(image), cv2.imread(str(image))[:, ::-1])
    assert image.stat().st_size == size


def uncompressed(data: Path) -> None:
    for image in (data.parent / "images/train").iterdir():
        cv2.imwrite(str(image.with_suffix(".bmp")), cv2.imread(str(image)))
        image.unlink()


@pytest.mark.parametrize("change", [relabelled, without_images, other_image])
def test_data_has_the_same_key_at_another_place_and_another_one_when_it_changed(change, tmp_path):
    data = draw_dataset(tmp_path / "one")
    first = key_of(data)
    there = moved(tmp_path / "one", tmp_path / "far" / "away")
    assert key_of(there) == first
    change(there.parent)
    assert key_of(there) != first == key_of(data)


def test_an_image_that_another_one_of_the_same_size_replaced_is_noticed(tmp_path):
    data = draw_dataset(tmp_path / "one")
    uncompressed(data)
    there = moved(tmp_path / "one", tmp_path / "there")
    other_image_of_the_same_size(there.parent)
    assert key_of(there) != key_of(data)


def test_of_many_images_some_from_all_over_are_looked_into(tmp_path, monkeypatch):
    monkeypatch.setattr("fgd_yolo.datasets.SAMPLED_IMAGES", 5)
    data = draw_dataset(tmp_path / "one", train=12, val=12)
    opened = []
    monkeypatch.setattr("fgd_yolo.datasets._middle", lambda path, _: opened.append(path.name) or b"")
    key_of(data)
    assert opened == ["00.png", "03.png", "06.png", "09.png"] * 2


def test_data_that_lists_its_images_one_by_one_has_the_same_key_at_another_place(tmp_path):
    keys = []
    for place in ("one", "far/away"):
        data = draw_dataset(tmp_path / place / "set")
        description = yaml.safe_load(data.read_text())
        for split in ("train", "val"):
            images = sorted((data.parent / "images" / split).iterdir())
            (tmp_path / place / f"{split}.txt").write_text("\n".join(map(str, images)))
            description[split] = str(tmp_path / place / f"{split}.txt")
        data.write_text(yaml.safe_dump({**description, "path": str(tmp_path / "nowhere")}))
        keys.append(key_of(data))
    assert keys[0] == keys[1]


def test_a_message_is_one_line(tmp_path):
    record_keys(tmp_path, HERE)
    with pytest.raises(FGDError) as error:
        compare_keys(tmp_path, {DATA: Key("other", "/data/d.yaml")})
    assert "\n" not in one_line(error.value)
