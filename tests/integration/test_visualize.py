"""The visualize command on real runs, its errors, and a training that draws while it runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from fgd_yolo import FGDTrainer
from fgd_yolo.cli.visualize_command import main
from fgd_yolo.config import Recipe
from fgd_yolo.training.checkpoints import read_side_file
from fgd_yolo.workflow.training_stages import train_stage
from fgd_yolo.workflow.visualize import initial_student
from fixtures import file_names, save_checkpoint
from training import OFF, quick_config, same_weights, train

pytestmark = pytest.mark.slow


@pytest.fixture
def students(student_yaml, tiny_data, tmp_path) -> list[Path]:
    """Two checkpoints of one student."""
    return [save_checkpoint(tmp_path / f"{seed}.pt", student_yaml, tiny_data, seed=seed) for seed in (1, 2)]


@pytest.fixture
def words(teacher_pt, students, tiny_data) -> dict[str, str]:
    """The options of a valid command."""
    before, after = map(str, students)
    options = {"--teacher": str(teacher_pt), "--before": before, "--after": after, "--source": str(tiny_data)}
    return {**options, "--device": "cpu"}


def run(words: dict[str, str | None]) -> int:
    return main([word for pair in words.items() if pair[1] is not None for word in pair])


def test_two_checkpoints_give_a_figure_per_image_a_table_and_files(words, capsys):
    assert run({**words, "--project": ".", "--name": "out", "--count": "2"}) == 0
    printed = capsys.readouterr().out
    assert "2 of 6 images at 96 px" in printed and "no fgd_last.safetensors beside 2.pt" in printed
    assert file_names(Path("out")) == ["01-00.png", "02-01.png", "differences.csv", "differences.json"]
    assert cv2.imread("out/01-00.png").std() > 10
    with Path("out/differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stride"] for row in rows] == ["8", "16", "32"] * 2
    for level in json.loads(Path("out/differences.json").read_text())["levels"]:
        assert f"{level['spatial_before']:.3f}" in printed and f"{level['spatial_after']:.3f}" in printed


def test_an_image_that_cannot_be_used_is_reported_and_skipped(words, tiny_data, capsys):
    Path("images").mkdir()
    Path("images/broken.png").write_text("not an image")
    shutil.copy(tiny_data.parent / "images/val/00.png", "images/valid.png")
    assert run({**words, "--source": "images", "--project": ".", "--name": "out"}) == 0
    assert "skipped: images/broken.png cannot be read as an image" in capsys.readouterr().out
    assert file_names(Path("out")) == ["02-valid.png", "differences.csv", "differences.json"]


def test_a_run_folder_supplies_all_options(shell, trained_teacher, capsys, monkeypatch):
    job = shell.job("--teacher", trained_teacher, "--method", "fgd+heads", "--name", "features")
    made = shell.run(job)
    assert made.returncode == 0, made.stderr
    monkeypatch.chdir(shell.folder)
    assert main(["--run", "runs/distill/features", "--count", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "the alignment of epoch 1" in printed
    content = json.loads(Path("runs/visualize/features/differences.json").read_text())
    assert content["images"] == 1 and all(level["channel_after"] > 0 for level in content["levels"])
    assert "runs/visualize/features" in printed
    assert file_names(Path("runs/distill/features/student/attention")) == ["epoch001.png"]


def test_channels_are_not_compared_in_a_run_without_features(shell, first_run, capsys, monkeypatch):
    assert first_run.returncode == 0, first_run.stderr
    monkeypatch.chdir(shell.folder)
    assert main(["--run", "runs/distill/first", "--count", "1", "--device", "cpu"]) == 0
    assert "compared no maps" in capsys.readouterr().out
    levels = json.loads(Path("runs/visualize/first/differences.json").read_text())["levels"]
    assert all(level["spatial_after"] > 0 and level["channel_after"] is None for level in levels)
    assert file_names(Path("runs/distill/first/student/attention")) == ["epoch001.png"]


def test_an_unfinished_run_is_refused_with_the_command_that_resumes_it(shell, first_run, tmp_path, capsys):
    (tmp_path / "distill.yaml").write_bytes((shell.folder / "runs/distill/first/distill.yaml").read_bytes())
    assert main(["--run", str(tmp_path)]) == 1
    line = capsys.readouterr().err
    assert "not finished" in line and "--resume" in line and line.count("\n") == 1


@pytest.mark.parametrize("begins", ["yaml", "pt"])
def test_the_initial_student_is_rebuilt_exactly(begins, student_yaml, students, tiny_data, tmp_path):
    initial = {}

    class Watching(FGDTrainer.with_teacher(None, config=quick_config(OFF))):
        def _setup_train(self):
            super()._setup_train()
            initial.update({name: value.clone() for name, value in self.model.state_dict().items()})

    student = str(student_yaml if begins == "yaml" else students[0])
    settings = {"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "plots": False, "seed": 5}
    best = train_stage(student, Watching, str(tiny_data), tmp_path / "student", settings)
    start = initial_student(Recipe(student=student, train={"seed": 5}), best).state_dict()
    assert start.keys() == initial.keys()
    assert all(torch.equal(start[name], initial[name]) for name in initial)


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"--teacher": None}, 2, "missing --teacher"),
        ({"--before": None, "--source": None}, 2, "missing --source, --before"),
        ({"--run": "nowhere"}, 2, "has no distill.yaml"),
        ({"--source": "nowhere"}, 2, "'nowhere' does not exist"),
        ({"--source": "nowhere.yaml"}, 1, "nowhere.yaml"),
        ({"--after": "nowhere.pt"}, 1, "nowhere.pt does not exist"),
        ({"--temperature": "0"}, 2, "must be a number above 0"),
        ({"--count": "0"}, 2, "at least 1"),
        ({"--imgsz": "big"}, 2, "must be an integer"),
        ({"--device": "77"}, 2, "device=77 is not available"),
        ({"--source": __file__}, 1, "cannot be read as an image"),
    ],
)
def test_wrong_usage_gives_one_line_and_leaves_no_files(words, changes, code, part, capsys):
    assert run({**words, **changes}) == code
    line = capsys.readouterr().err.removeprefix("drawing: 1\n")  # the status line before the error
    assert line.startswith("error: ") and part in line and line.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


def test_drawing_figures_leaves_the_training_bit_identical(teacher_pt, student_yaml, tiny_data, tmp_path):
    one, other = (
        train(
            FGDTrainer.with_teacher(
                teacher_pt, config=quick_config({"schedule.warmup_epochs": 0, "pictures_every": every})
            ),
            *(student_yaml, tiny_data, tmp_path / f"every{every}"),
            epochs=3,
        )
        for every in (0, 2)
    )
    assert not (one.save_dir / "attention").exists()
    assert file_names(other.save_dir / "attention") == ["epoch002.png", "epoch003.png"]
    assert same_weights(one.last, other.last)
    first, second = (read_side_file(t.wdir / "fgd_last.safetensors")["losses"] for t in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
