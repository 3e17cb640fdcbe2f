from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.compare.results_csv import read_runs, write_runs
from fgd_yolo.errors import FGDError
from unit.compare.made_up import made_up

FILE = Path("runs.csv")
RUNS = [
    made_up("plain", 0, 0.51),
    made_up("fgd:gradient_ratio=0.1,rel_weight=0", 3, 0.625, data="007", share=0.1, continued=[41], teacher="t.pt"),
]


def test_runs_are_read_back_as_they_were_written():
    write_runs(FILE, RUNS)
    assert read_runs(FILE) == RUNS


def test_nothing_is_there_before_the_first_run():
    assert read_runs(FILE) == []


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_last_line_that_was_cut_short_is_left_out(cut):
    write_runs(FILE, RUNS)
    FILE.write_bytes(FILE.read_bytes()[:-cut])
    assert read_runs(FILE) == RUNS[:1]
    write_runs(FILE, [*read_runs(FILE), RUNS[1]])
    assert read_runs(FILE) == RUNS


def test_a_file_of_an_earlier_version_lacks_columns_and_may_have_others():
    FILE.write_text("data,method,seed,map50_95,colour\ncells,plain,0,0.5,red\n")
    [run] = read_runs(FILE)
    assert (run.key, run.map50_95, run.map50) == (("cells", "plain", 0), 0.5, None)


@pytest.mark.parametrize("line", ["cells,plain,0,much", "cells,plain", ",plain,0,0.5", "cells,plain,0,"])
def test_a_line_that_is_no_run_is_named(line):
    FILE.write_text(f"data,method,seed,map50_95\ncells,plain,0,0.5\n{line}\n")
    with pytest.raises(FGDError, match=r"runs\.csv line 3 is no run"):
        read_runs(FILE)


def test_a_file_that_cannot_be_written_keeps_its_runs():
    write_runs(FILE, RUNS[:1])
    with pytest.raises(AttributeError):
        write_runs(FILE, [RUNS[1], None])
    assert read_runs(FILE) == RUNS[:1]
    assert [path.name for path in Path().iterdir()] == ["runs.csv"]


def test_a_number_that_is_not_finite_is_unknown_when_it_is_read_back(tmp_path):
    run = made_up(share=float("nan"), epoch_s=float("inf"), class_ap={"cat": float("nan"), "dog": 0.5})
    write_runs(tmp_path / "runs.csv", [run])
    (found,) = read_runs(tmp_path / "runs.csv")
    assert (found.share, found.epoch_s, found.class_ap) == (None, None, {"cat": None, "dog": 0.5})
    assert "nan" not in (tmp_path / "runs.csv").read_text().lower()


def test_names_of_a_file_that_somebody_else_made_are_printable(tmp_path):
    write_runs(tmp_path / "runs.csv", [made_up(data="ce\x1b[2Jlls", class_ap={"re\x9bd": 0.5})])
    (found,) = read_runs(tmp_path / "runs.csv")
    assert (found.data, found.class_ap) == ("ce?[2Jlls", {"re?d": 0.5})
