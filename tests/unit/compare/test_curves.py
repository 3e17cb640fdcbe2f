from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.compare.curves import curve_file, keep_curve, read_results
from fgd_yolo.compare.plots import Band, band
from unit.compare.made_up import made_up

HOST = "epoch,time,metrics/mAP50-95(B)\n"


def test_an_epoch_that_was_written_twice_counts_as_it_was_written_last():
    Path("results.csv").write_text(HOST + "1,5.1,0.1\n2,5.2,0.2\n2,3.1,0.25\n3,3.2,0.3\n")
    assert [row["metrics/mAP50-95(B)"] for row in read_results(Path("results.csv"))] == [0.1, 0.25, 0.3]


def test_half_a_row_and_a_missing_file_are_no_rows():
    Path("results.csv").write_text(HOST + "1,5.1,0.1\n2,5.")
    assert [row["epoch"] for row in read_results(Path("results.csv"))] == [1]
    assert read_results(Path("nowhere.csv")) == []


@pytest.mark.parametrize(
    "odd", [b"\n\n", b"\xff\xfe\x00,\x80\n", b"2\n", b"2,3,4,5\n", b"one,two,three\n", b"2,,\n", b'"2,5.2,0.2\n']
)
def test_odd_rows_are_no_rows(odd):
    Path("results.csv").write_bytes(HOST.encode() + b"1,5.1,0.1\n" + odd)
    assert [row["epoch"] for row in read_results(Path("results.csv"))] == [1]


@pytest.mark.parametrize("content", [b"", b"\n", b"1,5.1,0.1\n2,5.2,0.2\n", bytes(range(256))])
def test_a_file_without_a_header_has_no_rows(content):
    Path("results.csv").write_bytes(content)
    assert read_results(Path("results.csv")) == []


def test_a_curve_is_kept_under_the_name_of_its_run():
    Path("results.csv").write_text(HOST + "1,5.1,0.123456\n2,5.2,0.2\n")
    run = made_up("fgd:gradient_ratio=0.1", 4)
    keep_curve(Path("out"), run, Path("results.csv"))
    assert curve_file(Path("out"), run) == Path("out/curves/cells-fgd-gradient_ratio-0.1-4.csv")
    assert read_results(curve_file(Path("out"), run)) == read_results(Path("results.csv"))


def test_the_share_is_that_of_features_and_heads_together():
    Path("features.csv").write_text("epoch,fgd/gradient_ratio\n1,0.25\n")
    Path("both.csv").write_text("epoch,fgd/gradient_ratio,fgd/head_gradient_ratio\n1,0.25,0.5\n")
    assert [read_results(Path(name))[0]["share"] for name in ("features.csv", "both.csv")] == [0.25, 0.75]


def test_a_band_covers_the_epochs_that_all_seeds_have():
    curves = {
        ("cells", "fgd", 0): [{"epoch": 1, "map": 0.1}, {"epoch": 2, "map": 0.3}],
        ("cells", "fgd", 1): [{"epoch": 1, "map": 0.2}, {"epoch": 2, "map": 0.5}, {"epoch": 3, "map": 0.9}],
        ("cells", "plain", 0): [{"epoch": 1, "map": 0.7}],
        ("boards", "fgd", 0): [{"epoch": 1, "map": 0.8}],
    }
    first, second = band(curves, "cells", "fgd", "map")
    assert (first.epoch, first.low, first.high) == (1, 0.1, 0.2)
    assert second == Band(2, 0.4, 0.3, 0.5)
    assert band(curves, "cells", "fgd", "share") == []
