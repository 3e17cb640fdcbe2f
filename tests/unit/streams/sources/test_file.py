from __future__ import annotations

from itertools import pairwise

import pytest

from fgd_yolo.streams.sources import BadFrame, SourceEnded, SourceLost, open_source
from servers.clips import SIZE, number, write_clip


def read_all(source):
    """Return the pictures that are good and the count of those that are not."""
    pictures, bad = [], 0
    with pytest.raises((SourceEnded, SourceLost)):
        while True:
            try:
                pictures.append(source.read())
            except BadFrame:
                bad += 1
    source.close()
    return pictures, bad


def test_every_picture_comes_once_in_order_with_its_time(tmp_path):
    source = open_source(str(write_clip(tmp_path / "clip.mp4", frames=30, fps=15)), timeout_s=1)
    assert (source.live, source.fps) == (False, 15)
    pictures, bad = read_all(source)
    assert [number(picture.picture) for picture in pictures] == list(range(30))
    assert [picture.pts for picture in pictures] == pytest.approx([index / 15 for index in range(30)])
    assert bad == 0


def test_pictures_are_not_converted_and_stamps_are_in_order(tmp_path):
    pictures, _ = read_all(open_source(str(write_clip(tmp_path / "clip.mp4", frames=5)), timeout_s=1))
    assert {(picture.picture.format.name, picture.picture.width) for picture in pictures} == {("yuv420p", SIZE[0])}
    assert all(picture.arrived <= picture.decoded for picture in pictures)
    assert all(one.decoded <= other.decoded for one, other in pairwise(pictures))


def test_times_begin_at_zero_although_the_file_does_not(tmp_path):
    pictures, _ = read_all(open_source(str(write_clip(tmp_path / "clip.ts", frames=5, fps=15)), timeout_s=1))
    assert [picture.pts for picture in pictures] == pytest.approx([index / 15 for index in range(5)], abs=1e-4)


def test_a_damaged_file_gives_its_sound_pictures_and_counts_the_others(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=60, fps=15)
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 300] = bytes(300)
    clip.write_bytes(data)
    pictures, bad = read_all(open_source(str(clip), timeout_s=1))
    assert 0 < bad < 30
    assert 30 <= len(pictures) <= 60 - bad
    assert number(pictures[-1].picture) == 59


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", frames=3).rename(tmp_path / "http:clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_all(open_source("http:clip.mp4", timeout_s=1))[0]) == 3
