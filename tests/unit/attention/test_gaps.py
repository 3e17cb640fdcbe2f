"""The table and the files hold the same numbers, and these are the means of what was seen."""

from __future__ import annotations

import csv
import json

import pytest

from fgd_yolo.attention.gaps import Gap, gaps_of, mean_gaps, table, write_gaps

GAPS = [
    Gap("a.jpg", 8, 0.4, 0.2, 0.5, 0.3),
    Gap("a.jpg", 16, 0.1, 0.2, None, None),
    Gap("b.jpg", 8, 0.2, 0.1, 0.3, 0.1),
    Gap("b.jpg", 16, 0.3, 0.3, None, None),
]


def test_the_gaps_of_an_image_are_those_of_its_views(seen):
    gaps = gaps_of("a.jpg", seen.views, "before", "after")
    assert [gap.stride for gap in gaps] == [8, 16]
    for gap, view in zip(gaps, seen.views, strict=True):
        assert (gap.spatial_before, gap.spatial_after) == (view.spatial_gap("before"), view.spatial_gap("after"))
        assert (gap.channel_before, gap.channel_after) == (view.channel_gap("before"), view.channel_gap("after"))


def test_means_are_taken_level_by_level():
    fine, coarse = mean_gaps(GAPS)
    assert fine[1:] == pytest.approx((8, 0.3, 0.15, 0.4, 0.2))
    assert coarse[1:4] == pytest.approx((16, 0.2, 0.25)) and coarse[4:] == (None, None)


def test_the_table_shows_means_and_changes():
    lines = table(mean_gaps(GAPS), images=2).splitlines()
    assert "mean of 2 images" in lines[0]
    assert lines[2].split() == ["8", "0.300", "0.150", "0.400", "0.200", "-50%", "-50%"]
    assert lines[3].split() == ["16", "0.200", "0.250", "-", "-", "+25%", "-"]


def test_files_hold_every_row_and_the_means(tmp_path):
    csv_file, json_file = write_gaps(tmp_path / "new", GAPS, {"imgsz": 320})
    with csv_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a.jpg", "a.jpg", "b.jpg", "b.jpg"]
    assert (float(rows[2]["spatial_after"]), rows[1]["channel_after"]) == (0.1, "")
    told = json.loads(json_file.read_text())
    assert told["imgsz"] == 320 and [level["stride"] for level in told["levels"]] == [8, 16]
    assert told["levels"][0]["channel_after"] == pytest.approx(0.2) and told["levels"][1]["channel_after"] is None
