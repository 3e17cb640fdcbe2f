from __future__ import annotations

import cv2
import numpy as np
import pytest

from fgd_yolo.streams.sources import BadFrame, SourceEnded, open_source


def write(path, value):
    cv2.imwrite(str(path), np.full((6, 8, 3), value, np.uint8))


def test_pictures_come_once_in_the_order_of_their_names_and_a_broken_one_is_skipped(tmp_path):
    for name, value in (("b.png", 20), ("a.png", 10), ("d.png", 40)):
        write(tmp_path / name, value)
    (tmp_path / "c.png").write_text("no picture")
    source = open_source(str(tmp_path), timeout_s=1)
    assert (source.live, source.fps) == (False, None)
    assert [source.read().picture[0, 0, 0] for _ in range(2)] == [10, 20]
    with pytest.raises(BadFrame, match=r"c\.png"):
        source.read()
    last = source.read()
    assert (last.picture[0, 0, 0], last.pts, last.picture.shape) == (40, None, (6, 8, 3))
    assert last.arrived <= last.decoded
    with pytest.raises(SourceEnded):
        source.read()


def test_a_pattern_and_a_single_picture_of_any_name_are_sources_too(tmp_path):
    write(tmp_path / "a.png", 10)
    write(tmp_path / "b.png", 20)
    (tmp_path / "a.png").rename(tmp_path / "frame[1]")
    assert open_source(f"{tmp_path}/b*", timeout_s=1).read().picture[0, 0, 0] == 20
    assert open_source(str(tmp_path / "frame[1]"), timeout_s=1).read().picture[0, 0, 0] == 10
