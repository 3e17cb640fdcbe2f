from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from fgd_yolo.compare.labelled_part import LabelledPart, labelled_names, make_labelled_part
from fgd_yolo.datasets import read_dataset, scan_dataset
from fgd_yolo.errors import FGDError
from fixtures import file_names

NAMES = [f"{index:02}.png" for index in range(12)]


@pytest.fixture
def source(tiny_data, tmp_path) -> Path:
    """A copy of the small data set, whose folder no other test has written to."""
    folder = tmp_path / "source"
    shutil.copytree(tiny_data.parent, folder, ignore=shutil.ignore_patterns("*.cache"))
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(tiny_data.read_text()), "path": str(folder)}))
    return file


def make(source: Path, fraction: float, seed: int) -> LabelledPart:
    return make_labelled_part(str(source), fraction, seed, Path(f"made-{seed}").absolute())


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_first_names_by_the_digest_of_seed_and_name_keep_their_labels():
    for seed in (0, 7):
        by_digest = sorted((hashlib.sha256(f"{seed}:{name}".encode()).hexdigest(), name) for name in NAMES)
        assert labelled_names(reversed(NAMES), 0.25, seed) == {name for _, name in by_digest[:3]}
    assert labelled_names(NAMES, 0.25, 0) < labelled_names(NAMES, 0.5, 0)
    assert labelled_names(NAMES, 0.25, 0) != labelled_names(NAMES, 0.25, 7)


def test_an_epoch_on_the_labelled_part_has_as_many_images_as_the_whole_train_split(source):
    part, whole = make(source, 0.4, 3), read_dataset(source)
    names = labelled_names(NAMES, 0.4, 3)
    repeated, once, everything = (read_dataset(file) for file in (part.repeated, part.once, part.whole))
    assert {image.name for image in part.labelled} == {image.name for image in once.images("train")} == names
    assert {image.name for image in part.unlabelled} == set(NAMES) - names
    listed = [image.name for image in repeated.images("train")]
    assert len(listed) == 12 and set(listed) == names
    assert {listed.count(name) for name in names} == {2, 3}
    assert [len(data.images("train")) for data in (once, everything)] == [5, 12]
    for data in (repeated, once, everything):
        assert [link.readlink() for link in data.images("val")] == whole.images("val")
        assert data.names == whole.names


def test_labels_and_digests_are_those_of_the_source_and_nothing_is_written_beside_it(source):
    before = files_in(source.parent)
    part = make(source, 0.4, 3)
    train = {"imgsz": 64, "device": "cpu"}
    scans = {name: scan_dataset(getattr(part, name), train).scan for name in ("repeated", "once", "whole")}
    assert files_in(source.parent) == before
    true = scan_dataset(source, train).scan
    assert scans["whole"].digest == true.digest
    assert {scan.val_digest for scan in scans.values()} == {true.val_digest} != {true.digest}
    assert [scans[name].train_images for name in scans] == [12, 5, 12]
    for link in read_dataset(part.once).images("train"):
        label = Path(str(link).replace("/images/", "/labels/")).with_suffix(".txt")
        assert label.read_text() == (source.parent / "labels/train" / label.name).read_text()


def test_another_seed_chooses_other_images_and_the_same_seed_the_same(source):
    digests = [make(source, 0.5, seed).digest for seed in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]


def test_classes_without_an_object_among_the_labelled_images_are_named(source):
    names = labelled_names(NAMES, 0.25, 0)
    labels = [(source.parent / "labels/train" / name).with_suffix(".txt") for name in names]
    labels[0].write_text("".join(f"{number} 0.5 0.5 0.2 0.2\n" for number in range(3)))
    assert make(source, 0.25, 0).absent == ()
    for label in labels:
        label.write_text("1 0.5 0.5 0.2 0.2\n")
    assert make(source, 0.25, 0).absent == tuple(name for n, name in read_dataset(source).names.items() if n != 1)


def test_images_in_several_folders_keep_their_labels_apart(source):
    root = source.parent
    for folder in ("one", "two"):
        (root / folder).mkdir()
        for kind in ("images", "labels"):
            shutil.copytree(root / kind / "train", root / folder / kind)
    for label in (root / "two/labels").iterdir():
        label.write_text("")
    places = [str(root / "one/images"), str(root / "two/images")]
    source.write_text(yaml.safe_dump({**yaml.safe_load(source.read_text()), "train": places}))
    part = make(source, 0.5, 0)
    images = read_dataset(part.repeated).images("train")
    assert len(images) == 24
    for image in images:
        label = Path(str(image).rsplit("/images/", 1)[0]) / "labels" / f"{image.stem}.txt"
        assert label.read_text() == (image.readlink().parents[1] / "labels" / label.name).read_text()
    assert any(image.readlink().parents[1].name == "two" for image in images)


@pytest.mark.parametrize(("fraction", "none"), [(0.01, "labelled"), (0.99, "unlabelled")])
def test_a_fraction_that_leaves_one_side_empty_is_refused(source, fraction, none):
    with pytest.raises(FGDError, match=f"leaves no {none} image"):
        make(source, fraction, 0)


def test_what_is_made_can_be_made_again_and_replaces_what_was_there(source):
    part = make(source, 0.5, 0)
    part.repeated.unlink()
    (part.folder / "left-over.txt").write_text("")
    assert make(source, 0.5, 0) == part
    assert part.repeated.is_file() and "left-over.txt" not in file_names(part.folder)


def test_without_any_label_all_images_are_frames_whose_label_files_are_never_opened(source):
    (source.parent / "labels/train/00.txt").write_text("this is no label\n")
    part = make(source, 0, 0)
    assert part.labelled == () and len(part.unlabelled) == 12 and part.absent == ()
    frames = scan_dataset(part.once, {"imgsz": 64, "device": "cpu"})
    assert (frames.scan.train_images, frames.scan.val_images, frames.has_train_labels) == (12, 6, False)
    assert [link.readlink() for link in frames.images("train")] == list(part.unlabelled)
    assert not list(part.folder.glob("labels/frames*"))
    assert read_dataset(part.repeated).images("train") == frames.images("train")
