"""Frames are copied under their rank, with the objects of which the teacher is confident."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.disagreement.frames_to_label import write_frames
from fgd_yolo.errors import FGDError
from fgd_yolo.labelling import ImageLabels, LabelledObject
from fixtures import file_names

BOX = (0.5, 0.5, 0.25, 0.5)


def labels(image: Path, *scores: float) -> ImageLabels:
    return ImageLabels(image, 100, 200, tuple(LabelledObject(1, score, BOX) for score in scores))


def test_copies_have_their_rank_and_the_name_of_the_source(tmp_path):
    """A frame of a folder is a link whose own name is a number; two sources may have one name."""
    files = []
    for number, parent in enumerate("ab"):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "gate.jpg").write_bytes(parent.encode())
        files.append(tmp_path / f"{number}-link.jpg")
        files[-1].symlink_to(tmp_path / parent / "gate.jpg")
    folder = tmp_path / "out"
    folder.mkdir()
    copies = write_frames([labels(files[1], 0.9, 0.4), labels(files[0])], folder, {0: "car", 1: "bus"}, confident=0.5)
    assert [copy.name for copy in copies] == file_names(folder / "images") == ["1-gate.jpg", "2-gate.jpg"]
    assert [copy.read_bytes() for copy in copies] == [b"b", b"a"] and not copies[0].is_symlink()
    assert (folder / "labels/1-gate.txt").read_text() == "1 0.500000 0.500000 0.250000 0.500000\n"
    assert (folder / "labels/2-gate.txt").read_text() == ""
    assert file_names(folder) == ["annotations.json", "data.yaml", "images", "labels"]


def test_a_frame_that_is_gone_is_named(tmp_path):
    with pytest.raises(FGDError, match=r"cannot copy .*gone\.jpg"):
        write_frames([labels(tmp_path / "gone.jpg")], tmp_path, {1: "bus"}, confident=0.5)
