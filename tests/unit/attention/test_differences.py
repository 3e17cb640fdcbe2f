"""The table and the files of the attention differences hold the same means."""

from __future__ import annotations

import csv
import json

import pytest

from fgd_yolo.attention.differences import (
    Difference,
    format_table,
    image_differences,
    mean_differences,
    write_differences,
)

DIFFERENCES = [
    Difference("a.jpg", 8, 0.4, 0.2, 0.5, 0.3),
    Difference("a.jpg", 16, 0.1, 0.2, None, None),
    Difference("b.jpg", 8, 0.2, 0.1, 0.3, 0.1),
    Difference("b.jpg", 16, 0.3, 0.3, None, None),
]


def test_the_differences_of_an_image_are_those_of_its_levels(example):
    rows = image_differences("a.jpg", example.attention, "before", "after")
    assert [row.stride for row in rows] == [8, 16]
    for row, level in zip(rows, example.attention, strict=True):
        assert (row.spatial_before, row.spatial_after) == tuple(map(level.spatial_difference, ("before", "after")))
        assert (row.channel_before, row.channel_after) == tuple(map(level.channel_difference, ("before", "after")))


def test_means_are_taken_level_by_level():
    fine, coarse = mean_differences(DIFFERENCES)
    assert fine[1:] == pytest.approx((8, 0.3, 0.15, 0.4, 0.2))
    assert coarse[1:4] == pytest.approx((16, 0.2, 0.25)) and coarse[4:] == (None, None)


def test_the_table_shows_means_and_changes():
    lines = format_table(mean_differences(DIFFERENCES), images=2).splitlines()
    assert "mean of 2 images" in lines[0]
    assert lines[2].split() == ["8", "0.300", "0.150", "0.400", "0.200", "-50%", "-50%"]
    assert lines[3].split() == ["16", "0.200", "0.250", "-", "-", "+25%", "-"]


def test_files_hold_every_row_and_the_means(tmp_path):
    csv_file, json_file = write_differences(tmp_path / "new", DIFFERENCES, {"imgsz": 320})
    with csv_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a.jpg", "a.jpg", "b.jpg", "b.jpg"]
    assert (float(rows[2]["spatial_after"]), rows[1]["channel_after"]) == (0.1, "")
    content = json.loads(json_file.read_text())
    assert content["imgsz"] == 320 and [level["stride"] for level in content["levels"]] == [8, 16]
    assert content["levels"][0]["channel_after"] == pytest.approx(0.2) and content["levels"][1]["channel_after"] is None
