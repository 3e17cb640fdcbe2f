from __future__ import annotations

import shutil

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.frames import gather_frames, refuse_leak


def test_frames_that_are_val_images_under_another_name_are_refused(tmp_path, save):
    frames = gather_frames([save(tmp_path / "day", a=1, b=2, c=3)])
    val = save(tmp_path / "val", x=4)
    shutil.copy(tmp_path / "day/b.jpg", val / "y.jpg")
    (val / "z.jpg").symlink_to(tmp_path / "day/c.jpg")
    expected = r"^2 of 3 frames are also in the val split \(.*day/b\.jpg, .*day/c\.jpg\): "
    with pytest.raises(FGDError, match=expected):
        refuse_leak(frames, sorted(val.iterdir()))


def test_frames_that_only_resemble_val_images_are_fine(tmp_path, save):
    frames = gather_frames([save(tmp_path / "day", a=1, b=2)])
    val = save(tmp_path / "val", x=3)
    data = bytearray((tmp_path / "day/a.jpg").read_bytes())
    data[-20] ^= 1  # the same size, another content
    (val / "a.jpg").write_bytes(data)
    refuse_leak(frames, [val / "x.jpg", val / "a.jpg", val / "missing.jpg"])
