"""The visualize command on real runs, what it refuses, and a training that draws while it runs."""

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
from fgd_yolo.workflow.training_stage import train_stage
from fgd_yolo.workflow.visualize_subject import student_start
from fixtures import file_names, save_checkpoint
from training import OFF, same_weights, train, untaught

pytestmark = pytest.mark.slow


@pytest.fixture
def students(student_yaml, tiny_data, tmp_path) -> list[Path]:
    """Two checkpoints of one student."""
    return [save_checkpoint(tmp_path / f"{seed}.pt", student_yaml, tiny_data, seed=seed) for seed in (1, 2)]


@pytest.fixture
def words(teacher_pt, students, tiny_data) -> dict[str, str]:
    """A command that works, option by option."""
    before, after = map(str, students)
    options = {"--teacher": str(teacher_pt), "--before": before, "--after": after, "--source": str(tiny_data)}
    return {**options, "--device": "cpu"}


def run(words: dict[str, str | None]) -> int:
    return main([word for pair in words.items() if pair[1] is not None for word in pair])


def test_two_checkpoints_give_a_picture_for_each_image_a_table_and_numbers(words, capsys):
    assert run({**words, "--output": "seen", "--count": "2"}) == 0
    printed = capsys.readouterr().out
    assert "2 of 6 images at 96 px" in printed and "no fgd_last.safetensors beside 2.pt" in printed
    assert file_names(Path("seen")) == ["01-00.png", "02-01.png", "gaps.csv", "gaps.json"]
    assert cv2.imread("seen/01-00.png").std() > 10
    with Path("seen/gaps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stride"] for row in rows] == ["8", "16", "32"] * 2
    for level in json.loads(Path("seen/gaps.json").read_text())["levels"]:
        assert f"{level['spatial_before']:.3f}" in printed and f"{level['spatial_after']:.3f}" in printed


def test_an_image_that_cannot_be_used_is_named_and_left_out(words, tiny_data, capsys):
    Path("photos").mkdir()
    Path("photos/broken.png").write_text("no picture")
    shutil.copy(tiny_data.parent / "images/val/00.png", "photos/whole.png")
    assert run({**words, "--source": "photos", "--output": "seen"}) == 0
    assert "left out: photos/broken.png cannot be read as a picture" in capsys.readouterr().out
    assert file_names(Path("seen")) == ["02-whole.png", "gaps.csv", "gaps.json"]


def test_a_run_folder_says_all_that_is_needed(shell, first_run, capsys, monkeypatch):
    assert first_run.returncode == 0, first_run.stderr
    monkeypatch.chdir(shell.folder)
    assert main(["--run", "runs/distill/first", "--count", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "through the alignment of epoch 1" in printed
    told = json.loads(Path("runs/visualize/first/gaps.json").read_text())
    assert told["images"] == 1 and all(level["channel_after"] > 0 for level in told["levels"])
    assert "runs/visualize/first" in printed
    assert file_names(Path("runs/distill/first/student/pictures")) == ["epoch001.png"]


def test_a_run_that_is_not_finished_says_how_to_go_on(shell, first_run, tmp_path, capsys):
    (tmp_path / "distill.yaml").write_bytes((shell.folder / "runs/distill/first/distill.yaml").read_bytes())
    assert main(["--run", str(tmp_path)]) == 1
    line = capsys.readouterr().err
    assert "not finished" in line and "--resume" in line and line.count("\n") == 1


@pytest.mark.parametrize("begins", ["yaml", "pt"])
def test_the_start_of_a_student_is_the_one_that_was_trained(begins, student_yaml, students, tiny_data, tmp_path):
    found = {}

    class Watching(FGDTrainer.configured(teacher=None, config=untaught(**OFF))):
        def _setup_train(self):
            super()._setup_train()
            found.update({name: value.clone() for name, value in self.model.state_dict().items()})

    student = str(student_yaml if begins == "yaml" else students[0])
    settings = {"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "plots": False, "seed": 5}
    best = train_stage(student, Watching, str(tiny_data), tmp_path / "student", settings)
    start = student_start(Recipe(student=student, train={"seed": 5}), best).state_dict()
    assert start.keys() == found.keys()
    assert all(torch.equal(start[name], found[name]) for name in found)


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"--teacher": None}, 2, "--teacher is missing"),
        ({"--before": None, "--source": None}, 2, "--source, --before is missing"),
        ({"--run": "nowhere"}, 2, "holds no distill.yaml"),
        ({"--source": "nowhere"}, 2, "'nowhere' does not exist"),
        ({"--source": "nowhere.yaml"}, 1, "nowhere.yaml"),
        ({"--after": "nowhere.pt"}, 1, "nowhere.pt does not exist"),
        ({"--temperature": "0"}, 2, "must be a number above 0"),
        ({"--count": "0"}, 2, "at least 1"),
        ({"--imgsz": "big"}, 2, "must be a whole number"),
        ({"--device": "77"}, 2, "device 77"),
        ({"--source": __file__}, 1, "cannot be read as a picture"),
    ],
)
def test_what_cannot_be_is_one_line(words, changes, code, part, capsys):
    assert run({**words, **changes}) == code
    line = capsys.readouterr().err.removeprefix("drawing: 1\n")  # which is no error yet
    assert line.startswith("error: ") and part in line and line.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


def test_a_training_that_draws_is_the_same_to_the_last_bit(teacher_pt, student_yaml, tiny_data, tmp_path):
    one, other = (
        train(
            FGDTrainer.configured(teacher=teacher_pt, config=untaught(warmup_epochs=0, plot_every=every)),
            *(student_yaml, tiny_data, tmp_path / f"every{every}"),
            epochs=3,
        )
        for every in (0, 2)
    )
    assert not (one.save_dir / "pictures").exists()
    assert file_names(other.save_dir / "pictures") == ["epoch002.png", "epoch003.png"]
    assert same_weights(one.last, other.last)
    first, second = (read_side_file(t.wdir / "fgd_last.safetensors")["losses"] for t in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
