from __future__ import annotations

import json

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.frames import gather_frames, read_frames


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (None, "No such file or directory"),
        ("{", "Expecting property name"),
        ("[]", "list indices must be integers"),
        ('{"version": 99}', "its manifest has version 99, not 1"),
        ('{"version": 1}', "counts"),
        ('{"version": 1, "counts": {"kept": 1}, "frames": [["a.jpg", 1]]}', "missing 3 required"),
    ],
)
def test_what_is_no_folder_of_frames_is_refused(tmp_path, manifest, problem):
    if manifest is not None:
        (tmp_path / "frames.json").write_text(manifest)
    with pytest.raises(FGDError, match=f"is not a folder of frames: .*{problem}.*; gather them again$"):
        read_frames(tmp_path)


def test_images_that_were_moved_are_named(tmp_path, save):
    folder = save(tmp_path / "day", a=1, b=2)
    frames = gather_frames([folder])
    (folder / "b.jpg").unlink()
    with pytest.raises(FGDError, match=r"^1 of 2 frames are no longer there: .*day/b\.jpg$"):
        read_frames(frames.folder)


def test_a_manifest_is_strict_json_with_a_row_for_each_frame(tmp_path, save):
    frames = gather_frames([save(tmp_path / "day", a=1, b=2)])
    manifest = json.loads((frames.folder / "frames.json").read_text())
    assert [row[:3] for row in manifest["frames"]] == [["0000000-a.jpg", 64, 96], ["0000001-b.jpg", 64, 96]]
