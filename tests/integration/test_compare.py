from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from signals import default_signals, ignoring

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "tools/compare.py"
FGD = "fgd+heads:checks.min_teacher_map=0"


class Comparison:
    """Runs the command on a small data set in its own folder."""

    def __init__(self, folder: Path, data: Path, teacher: Path, student: Path):
        self.folder = folder
        self.data, self.teacher, self.student = data, teacher, student

    def command(self, *more: str, methods=("plain", FGD), seeds=2, epochs=2) -> list[str]:
        models = ["--data", self.data, "--teacher", self.teacher, "--student", self.student]
        budget = ["--epochs", epochs, "--imgsz", 64, "--batch", 4, "--device", "cpu", "nbs=4", "warmup_epochs=0"]
        methods_and_seeds = ["--methods", *methods, "--seeds", seeds, "--project", self.folder, "--name", "out"]
        return list(map(str, [sys.executable, SCRIPT, *models, *methods_and_seeds, *budget, *more]))

    def run(self, *more: str, **options) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*more, **options), cwd=self.folder, capture_output=True, text=True)

    def start(self, prepare=default_signals, **options) -> subprocess.Popen:
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(**options), cwd=self.folder, preexec_fn=prepare, **pipes)

    def rows(self) -> list[dict[str, str]]:
        file = self.folder / "out/runs.csv"
        return list(csv.DictReader(file.open())) if file.is_file() else []

    def place(self, method: str, seed: int) -> Path:
        return self.folder / "out/work/tiny" / method / str(seed)


@pytest.fixture
def comparison(tmp_path, tiny_data, teacher_pt, student_yaml) -> Comparison:
    shutil.copytree(tiny_data.parent, tmp_path / "tiny")
    (tmp_path / "tiny/tiny.yaml").write_text(
        tiny_data.read_text().replace(str(tiny_data.parent), str(tmp_path / "tiny"))
    )
    return Comparison(tmp_path, tmp_path / "tiny/tiny.yaml", teacher_pt, student_yaml)


def until(condition, seconds: float = 240.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def workers(folder: Path) -> list[psutil.Process]:
    """Return the worker processes of a comparison folder."""
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "fgd_yolo.compare.run_process" in words and words[-1].startswith(str(folder)):
            processes.append(process)
    return processes


def test_methods_train_under_equal_conditions_and_a_killed_comparison_resumes(comparison):
    first = comparison.start()
    until(comparison.rows)
    first_row = comparison.rows()[0]
    until(lambda: workers(comparison.folder))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not workers(comparison.folder))

    second = comparison.run()
    assert second.returncode == 0, second.stderr
    rows = comparison.rows()
    assert [(row["method"], row["seed"]) for row in rows] == [("plain", "0"), (FGD, "0"), ("plain", "1"), (FGD, "1")]
    assert rows[0] == first_row and "4 runs: 1 finished, 3 to make" in second.stdout
    for key in ("batches_digest", "init_digest"):
        by_run = [row[key] for row in rows]
        assert by_run[0] == by_run[1] != by_run[2] == by_run[3] != ""
    assert {(row["epochs"], row["optimizer"], row["resumed"]) for row in rows} == {("2", "AdamW", "")}
    assert "no gain shown" in second.stdout or "a gain" in second.stdout or "a loss" in second.stdout

    text = "".join((comparison.folder / "out" / name).read_text() for name in ("runs.csv", "report.md", "report.html"))
    assert str(comparison.folder) not in text
    curves = comparison.folder / "out/curves"
    assert len(list(curves.iterdir())) == 4
    assert all(len(file.read_text().splitlines()) == 3 for file in curves.iterdir())

    (comparison.folder / "out/report.html").unlink()
    third = comparison.run()
    assert third.returncode == 0 and "4 finished, 0 to make" in third.stdout
    assert (comparison.folder / "out/report.html").is_file() and comparison.rows() == rows

    for options, difference in (({"epochs": 3}, "epochs (3 and 2)"), ({}, "optimizer (SGD and AdamW)")):
        changed = comparison.run(*([] if options else ["optimizer=SGD"]), **options)
        assert changed.returncode == 2
        assert changed.stderr.splitlines()[-1].startswith("error: ") and f"differ in {difference}" in changed.stderr
        assert "choose another --name" in changed.stderr and comparison.rows() == rows


@pytest.mark.parametrize(
    ("method", "stop_signal", "prepare"),
    [
        pytest.param("ultralytics", signal.SIGKILL, default_signals, marks=pytest.mark.long),
        pytest.param(FGD, signal.SIGINT, default_signals, marks=pytest.mark.long),
        pytest.param(FGD, signal.SIGTERM, ignoring(signal.SIGINT, signal.SIGHUP), marks=pytest.mark.long),
    ],
)
def test_a_run_stops_with_its_parent_and_resumes_from_its_checkpoint(comparison, method, stop_signal, prepare):
    options = {"methods": [method], "seeds": 1, "epochs": 30}
    record = comparison.place(method.replace(":", "-").replace("=", "-"), 0) / "record.json"
    first = comparison.start(prepare, **options)
    until(lambda: record.is_file() and "4" in json.loads(record.read_text())["epochs"])
    first.send_signal(stop_signal)
    _, stderr = first.communicate(timeout=120)
    if stop_signal != signal.SIGKILL:
        assert first.returncode == 1 and "the same command resumes" in stderr.splitlines()[-1]
    until(lambda: not workers(comparison.folder))
    before = json.loads(record.read_text())

    second = comparison.run(**options)
    assert second.returncode == 0, second.stderr
    after = json.loads(record.read_text())
    [started, resumed] = after["starts"]
    assert started == 0 and 4 <= resumed < 30
    assert all(after["epochs"][epoch] == before["epochs"][epoch] for epoch in ("1", "2", "3", "4"))
    [row] = comparison.rows()
    assert (row["epochs"], row["resumed"]) == ("30", f"[{resumed}]")


def test_a_teacher_below_the_minimum_stops_the_comparison_before_the_first_run(comparison):
    run = comparison.run(methods=("plain", "fgd"), seeds=1)
    assert run.returncode == 1 and "the teacher reaches mAP50-95 0.000" in run.stderr
    assert not comparison.rows() and not comparison.place("plain", 0).exists()


def test_a_failed_run_is_reported_and_the_others_continue(comparison):
    too_strong = f"{FGD},checks.max_ratio=0.001,schedule.warmup_epochs=0"  # it stops itself after its first epoch
    run = comparison.run("--jobs", "2", methods=(too_strong, "plain"), seeds=1)
    assert run.returncode == 1
    assert [row["method"] for row in comparison.rows()] == ["plain"]
    assert "1 of 2 runs failed" in run.stderr and "for a whole epoch" in run.stderr and "log.txt" in run.stdout
    assert (comparison.folder / "out/report.html").is_file()


def test_hold_out_does_not_read_the_val_split(comparison):
    shutil.rmtree(comparison.data.parent / "images/val")
    run = comparison.run("--val-fraction", "0.25", methods=("plain",), seeds=1, epochs=1)
    assert run.returncode == 0, run.stderr
    [row] = comparison.rows()
    assert (row["train_images"], row["val_images"], row["val_fraction"]) == ("9", "3", "0.25")
    assert (comparison.folder / "out/report.md").read_text().startswith("# Tuning on held-out train images")


@pytest.mark.long
def test_finished_runs_are_included_if_their_budgets_agree(comparison):
    from ultralytics.models.yolo.detect import DetectionTrainer

    from fgd_yolo import FGDConfig, FGDTrainer
    from training import train

    def stock(name: str, **arguments) -> str:
        train(DetectionTrainer, comparison.student, comparison.data, comparison.folder / name, **arguments)
        return str(comparison.folder / name / "student")

    plain, ultralytics = stock("plain"), stock("ultralytics", distill_model=str(comparison.teacher), dis=3.0)
    longer = stock("longer", seed=1, epochs=3)
    trainer = FGDTrainer.with_teacher(
        comparison.teacher,
        FGDConfig.from_dict({"method": "fgd+heads", "features.ratio": 0.2, "checks.min_teacher_map": 0}),
    )
    train(trainer, comparison.student, comparison.data, comparison.folder / "ours")
    runs = [plain, ultralytics, str(comparison.folder / "ours/student")]
    included = comparison.run("--runs", *runs, methods=(FGD,), seeds=1)
    assert included.returncode == 0, included.stderr
    rows = {row["method"]: row for row in comparison.rows()}
    assert set(rows) == {"plain", "ultralytics:dis=3", FGD, "fgd+heads:features.ratio=0.2,checks.min_teacher_map=0"}
    assert (
        len({row["student_digest"] for row in rows.values()}) == len({row["data_digest"] for row in rows.values()}) == 1
    )
    assert len({row["teacher_digest"] for row in rows.values() if row["method"] != "plain"} - {""}) == 1

    refused = comparison.run("--runs", longer, methods=(FGD,), seeds=1)
    assert refused.returncode == 2 and "differ in epochs (3 and 2)" in refused.stderr
    again = comparison.run("--runs", plain, plain, methods=(FGD,), seeds=1)
    assert again.returncode == 2 and "given more than once" in again.stderr
    nothing = comparison.run("--runs", str(comparison.folder), methods=(FGD,), seeds=1)
    assert nothing.returncode == 2 and "is not a run" in nothing.stderr


def test_few_labels_with_frames_and_with_pseudo_labels_have_equal_budgets(comparison):
    ours = "fgd+heads:frames=true,checks.min_teacher_map=0,pseudo_low=0.001,pseudo_high=0.002"
    before = sorted(comparison.data.parent.rglob("*"))
    methods = ("pseudo-labels:score=0.001", ours)
    run = comparison.run("--label-fraction", "0.25", "--jobs", "2", methods=methods, seeds=1, epochs=1)
    assert run.returncode == 0, run.stderr
    rows = {row["method"]: row for row in comparison.rows()}
    assert set(rows) == set(methods)
    for column in ("init_digest", "val_digest", "labelled_digest", "epoch_images", "label_fraction", "train_images"):
        assert len({row[column] for row in rows.values()} - {""}) == 1, column
    assert (rows[ours]["epoch_images"], rows[ours]["label_fraction"]) == ("12", "0.25")
    assert [rows[method]["labelled_images"] for method in methods] == ["3", "3"]
    assert len({row["batches_digest"] for row in rows.values()}) == 2
    assert sorted(comparison.data.parent.rglob("*")) == before
    assert "25 % of the train images keep their labels" in (comparison.folder / "out/report.md").read_text()


def test_a_student_learns_from_frames_alone_and_is_measured_on_true_labels(comparison):
    ours = "heads:frames=true,checks.min_teacher_map=0,pseudo_low=0.001,pseudo_high=0.002"
    for label in (comparison.data.parent / "labels/train").iterdir():
        label.write_text("no label file of a frame is opened")
    run = comparison.run("--label-fraction", "0", methods=(ours,), seeds=1, epochs=1)
    assert run.returncode == 0, run.stderr
    [row] = comparison.rows()
    assert (row["epoch_images"], row["labelled_images"], row["label_fraction"]) == ("12", "0", "0")
    assert row["map50_95"] and "agreement" not in (comparison.folder / "out/report.md").read_text()
