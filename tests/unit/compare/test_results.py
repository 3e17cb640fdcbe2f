from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.compare.results import (
    CONTEXT,
    copy_curve,
    curve_file,
    read_context,
    read_curve,
    read_runs,
    write_runs,
)
from fgd_yolo.errors import FGDError
from fgd_yolo.task_table import TASKS
from unit.compare.example_runs import example_run

FILE = Path("runs.csv")
HEADER = "epoch,time,metrics/mAP50-95(B)\n"
RUNS = [
    example_run("plain", 0, 0.51),
    example_run(
        "fgd:features.ratio=0.1,features.rel_weight=0",
        3,
        0.625,
        data="007",
        gradient_ratio=0.1,
        resumed=[41],
        teacher="t.pt",
    ),
]


def test_runs_survive_a_round_trip():
    write_runs(FILE, RUNS)
    assert read_runs(FILE) == RUNS


def test_a_missing_file_has_no_runs():
    assert read_runs(FILE) == []


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_an_incomplete_last_line_is_ignored(cut):
    write_runs(FILE, RUNS)
    FILE.write_bytes(FILE.read_bytes()[:-cut])
    assert read_runs(FILE) == RUNS[:1]
    write_runs(FILE, [*read_runs(FILE), RUNS[1]])
    assert read_runs(FILE) == RUNS


def test_missing_columns_are_unknown_and_other_columns_are_ignored():
    FILE.write_text("data,method,seed,map50_95,colour\ncells,plain,0,0.5,red\n")
    [run] = read_runs(FILE)
    assert (run.key, run.map50_95, run.map50) == (("cells", "plain", 0), 0.5, None)


def test_a_file_without_tasks_has_runs_of_detect():
    FILE.write_text("data,method,seed,map50_95\ncells,plain,0,0.5\n")
    [run] = read_runs(FILE)
    assert run.task is TASKS["detect"]


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_the_task_of_a_run_follows_from_what_was_measured(task):
    write_runs(FILE, [example_run(measured=task.measured)])
    [run] = read_runs(FILE)
    assert run.task is task


@pytest.mark.parametrize(("letters", "expected"), [("B", 0.25), ("BM", 0.5), ("BP", 0.5)])
def test_the_curve_of_a_run_has_the_accuracy_of_its_task(letters, expected):
    names = [f"metrics/mAP50-95({letter})" for letter in letters]
    Path("results.csv").write_text(f"epoch,{','.join(names)}\n1,{','.join(['0.25', '0.5'][: len(names)])}\n")
    [row] = read_curve(Path("results.csv"))
    assert row["mAP50-95"] == expected


@pytest.mark.parametrize("line", ["cells,plain,0,much", "cells,plain", ",plain,0,0.5", "cells,plain,0,"])
def test_an_invalid_line_is_named(line):
    FILE.write_text(f"data,method,seed,map50_95\ncells,plain,0,0.5\n{line}\n")
    with pytest.raises(FGDError, match=r"runs\.csv line 3 is not a run"):
        read_runs(FILE)


def test_a_failed_write_keeps_the_file():
    write_runs(FILE, RUNS[:1])
    with pytest.raises(AttributeError):
        write_runs(FILE, [RUNS[1], None])
    assert read_runs(FILE) == RUNS[:1]
    assert [path.name for path in Path().iterdir()] == ["runs.csv"]


def test_a_number_that_is_not_finite_is_read_back_as_unknown(tmp_path):
    run = example_run(gradient_ratio=float("nan"), epoch_s=float("inf"), class_ap={"cat": float("nan"), "dog": 0.5})
    write_runs(tmp_path / "runs.csv", [run])
    (run,) = read_runs(tmp_path / "runs.csv")
    assert (run.gradient_ratio, run.epoch_s, run.class_ap) == (None, None, {"cat": None, "dog": 0.5})
    assert "nan" not in (tmp_path / "runs.csv").read_text().lower()


def test_names_in_the_file_are_made_printable(tmp_path):
    write_runs(tmp_path / "runs.csv", [example_run(data="ce\x1b[2Jlls", class_ap={"re\x9bd": 0.5})])
    (run,) = read_runs(tmp_path / "runs.csv")
    assert (run.data, run.class_ap) == ("ce?[2Jlls", {"re?d": 0.5})


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[1]", b"{", b"null", b'{"method": 3}', bytes(range(256))),
        b'{"commands": [], "machines": {}, "teachers": {}}',
    ],
)
def test_damaged_files_of_a_comparison_are_a_one_line_error(content, tmp_path):
    (tmp_path / CONTEXT).write_bytes(content)
    with pytest.raises(FGDError, match=r"compare\.json is damaged: remove it"):
        read_context(tmp_path)
    FILE.write_bytes(b"\xff\xfe")
    with pytest.raises(FGDError, match=r"runs\.csv cannot be read \(.+\): repair or remove it"):
        read_runs(FILE)


def test_the_later_row_of_a_repeated_epoch_counts():
    Path("results.csv").write_text(HEADER + "1,5.1,0.1\n2,5.2,0.2\n2,3.1,0.25\n3,3.2,0.3\n")
    assert [row["metrics/mAP50-95(B)"] for row in read_curve(Path("results.csv"))] == [0.1, 0.25, 0.3]


def test_an_incomplete_row_and_a_missing_file_are_ignored():
    Path("results.csv").write_text(HEADER + "1,5.1,0.1\n2,5.")
    assert [row["epoch"] for row in read_curve(Path("results.csv"))] == [1]
    assert read_curve(Path("nowhere.csv")) == []


@pytest.mark.parametrize(
    "damage", [b"\n\n", b"\xff\xfe\x00,\x80\n", b"2\n", b"2,3,4,5\n", b"one,two,three\n", b"2,,\n", b'"2,5.2,0.2\n']
)
def test_damaged_rows_are_ignored(damage):
    Path("results.csv").write_bytes(HEADER.encode() + b"1,5.1,0.1\n" + damage)
    assert [row["epoch"] for row in read_curve(Path("results.csv"))] == [1]


@pytest.mark.parametrize("content", [b"", b"\n", b"1,5.1,0.1\n2,5.2,0.2\n", bytes(range(256))])
def test_a_file_without_a_header_has_no_rows(content):
    Path("results.csv").write_bytes(content)
    assert read_curve(Path("results.csv")) == []


def test_a_curve_is_copied_under_the_name_of_its_run():
    Path("results.csv").write_text(HEADER + "1,5.1,0.123456\n2,5.2,0.2\n")
    run = example_run("fgd:features.ratio=0.1", 4)
    copy_curve(Path("out"), run, Path("results.csv"))
    assert curve_file(Path("out"), run) == Path("out/curves/cells-fgd-features.ratio-0.1-4.csv")
    assert read_curve(curve_file(Path("out"), run)) == read_curve(Path("results.csv"))


def test_the_gradient_ratio_is_the_sum_of_features_and_heads():
    Path("features.csv").write_text("epoch,features/ratio\n1,0.25\n")
    Path("both.csv").write_text("epoch,features/ratio,heads/ratio\n1,0.25,0.5\n")
    assert [read_curve(Path(name))[0]["gradient_ratio"] for name in ("features.csv", "both.csv")] == [0.25, 0.75]
