"""Comparisons of other tasks than detect, whose tests in `test_compare.py` start workers for the runs."""

from __future__ import annotations

import pytest

from fgd_yolo.compare.comparison import compare
from fgd_yolo.compare.jobs import plan_jobs, prepare_data, write_job, write_result
from fgd_yolo.compare.options import ComparisonOptions, parse_methods
from fgd_yolo.compare.results import TASK_MAP50_95, curve_file, read_curve, read_runs
from fgd_yolo.compare.run_process import make_run
from fgd_yolo.task_table import TASKS
from fixtures import task_files
from long_cases import long

METHODS = ["plain", "ultralytics", "fgd+heads:checks.min_teacher_map=0"]
SMALL = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu", "nbs": 4, "warmup_epochs": 0}
COLUMNS = {
    "segment": "mask mAP50-95, mean (range) | mask mAP50, mean (range) | box mAP50-95,",
    "pose": "keypoint mAP50-95, mean (range) | keypoint mAP50, mean (range) | box mAP50-95,",
    "obb": "rotated-box mAP50-95, mean (range) | rotated-box mAP50, mean (range) |\n",
}
LETTERS = {"segment": "M", "pose": "P", "obb": "B"}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", *long("pose", "obb")])
def test_methods_are_compared_by_the_accuracy_of_the_task(task, tmp_path):
    data, teacher, student = map(str, task_files(tmp_path / "files", task))
    out = tmp_path / "out"
    options = ComparisonOptions(out, [data], [teacher], student, parse_methods(METHODS), seeds=[0], train=SMALL)
    for job in plan_jobs(options, prepare_data(options)):
        write_job(job)
        write_result(job, make_run(job))
    compare(options, "fgd-yolo compare")

    runs = read_runs(out / "runs.csv")
    assert [run.method for run in runs] == METHODS
    assert {run.task for run in runs} == {TASKS[task]}
    assert len({run.batches_digest for run in runs}) == len({run.init_digest for run in runs}) == 1
    assert runs[2].gradient_ratio > 0
    for run in runs:
        (row,) = read_curve(curve_file(out, run))
        assert row[TASK_MAP50_95] == row[f"metrics/mAP50-95({LETTERS[task]})"] == pytest.approx(run.map50_95, abs=1e-3)
    report = (out / "report.md").read_text()
    assert COLUMNS[task] in report and f" {TASKS[task].map_name} points" in report
    assert ("AP small" in report) == (task != "obb")
    assert (out / "report.html").is_file()
