from __future__ import annotations

import os

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.files import numbered_folder, replacing


def test_a_place_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FGDError, match="cannot make the folder"):
        numbered_folder(tmp_path / "file" / "below")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "run" / "student.pt"
    target.parent.mkdir()
    target.write_text("old")
    with (
        pytest.raises(FGDError, match=r"cannot write .*student\.pt: No space left on device"),
        replacing(target) as path,
    ):
        path.write_text("ha")
        raise OSError(28, "No space left on device")
    assert [(file.name, file.read_text()) for file in target.parent.iterdir()] == [("student.pt", "old")]


def test_what_is_no_file_is_never_replaced(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, folder):
        with pytest.raises(FGDError, match="it exists and is no file"), replacing(target) as path:
            path.write_text("ha")
    assert pipe.is_fifo() and list(folder.iterdir()) == [pipe]
