from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fgd_yolo.compare import comparison
from fgd_yolo.compare.comparison import _check_output, compare, describe_machine, rewrite_report, without_folders
from fgd_yolo.compare.jobs import Job, write_job
from fgd_yolo.compare.options import ComparisonOptions, parse_method
from fgd_yolo.compare.results import write_runs
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.locking import FolderLock
from fixtures import draw_dataset
from unit.compare.example_runs import example_run

LARGER = "fgd:teacher_imgsz=128"


def test_a_started_run_without_a_checkpoint_does_not_prevent_another(tmp_path):
    def job(teacher_digest: str) -> Job:
        planned = example_run("fgd", 0, teacher_digest=teacher_digest)
        folder = tmp_path / "run"
        return Job(folder, folder, "cells.yaml", "s.yaml", ["t.pt"], parse_method("fgd"), {}, planned)

    write_job(job("wrong"))
    _check_output([job("right")], [], tmp_path)
    last = tmp_path / "run/weights/last.pt"
    last.parent.mkdir()
    last.touch()
    with pytest.raises(UsageError, match="differ in the teacher; choose another --name"):
        _check_output([job("right")], [], tmp_path)


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path):
    file = tmp_path / "out"
    file.touch()
    with pytest.raises(FGDError, match=r"cannot create the folder .*out: File exists; choose another --project"):
        compare(ComparisonOptions(file, student="s.yaml", methods=[parse_method("plain")]), "")


def test_a_second_comparison_in_a_folder_names_the_process_that_uses_it(tmp_path):
    options = ComparisonOptions(tmp_path, student="s.yaml", methods=[parse_method("plain")])
    with FolderLock(tmp_path), pytest.raises(FGDError, match=rf"is in use by process {os.getpid()} on .* since "):
        compare(options, "")


def test_a_teacher_is_measured_once_at_each_image_size_that_methods_show_it(tmp_path, monkeypatch):
    sizes = []

    def measured(weights, data, train, *_):
        sizes.append(train["imgsz"])
        return {"map50_95": 0.5, "map50": 0.6, "box_map50_95": 0.5, "box_map50": 0.6}

    def job(method: str, seed: int) -> Job:
        planned = example_run(method, seed, measured="boxes")
        return Job(
            tmp_path, tmp_path, str(data), "s.yaml", [str(teacher)], parse_method(method), {"imgsz": 64}, planned
        )

    data, teacher = draw_dataset(tmp_path / "data", train=2, val=2), tmp_path / "t.pt"
    teacher.write_bytes(b"weights")
    monkeypatch.setattr(comparison, "measure_accuracy", measured)
    comparison.save_context(tmp_path, [job(method, seed) for seed in (0, 1) for method in ("fgd", LARGER)], "")
    comparison.save_context(tmp_path, [job("fgd", 2)], "")
    rows = comparison.read_context(tmp_path)["teachers"]["cells"]
    assert sizes == [64, 128] and [row["name"] for row in rows] == ["t.pt", "t.pt at 128 px"]


def test_the_recorded_command_has_no_absolute_paths():
    command = "fgd-yolo compare --data /home/me/a.yaml --teacher ../t.pt --project=/tmp/x 'pretrained=/m/w.pt' "
    command += "--teacher /home/me/t.pt,/home/you/u.pt"
    expected = "fgd-yolo compare --data a.yaml --teacher ../t.pt --project=x pretrained=w.pt --teacher t.pt,u.pt"
    assert without_folders(command) == expected


def test_the_machine_is_described_without_sched_getaffinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert re.match(r"\d+ CPU cores? \(.+\), ", describe_machine())


@pytest.mark.parametrize(
    ("fgd", "advice"),
    [
        ([0.52], "next: one seed proves nothing: the same command with --seeds 3 makes two further pairs"),
        ([0.52, 0.49, 0.50], "next: more seeds narrow the interval: "),
        ([0.55, 0.54, 0.56], None),
    ],
)
def test_a_comparison_ends_with_verdict_files_and_what_to_do_about_it(fgd, advice, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = [example_run("fgd", seed, value) for seed, value in enumerate(fgd)]
    write_runs(tmp_path / "out/runs.csv", [*runs, *(example_run("plain", seed) for seed in range(len(fgd)))])
    rewrite_report(Path("out"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("fgd over plain: +")
    files = [line.split() for line in lines[lines.index("files") + 1 :][:3]]
    assert files == [["report", "out/report.html"], ["text", "out/report.md"], ["runs", "out/runs.csv"]]
    assert lines[-1].startswith(advice or "  runs")
