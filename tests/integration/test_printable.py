"""Control characters in data sets and checkpoints never reach the terminal, not even during a training."""

from __future__ import annotations

import re
from ast import literal_eval
from pathlib import Path

import onnx
import pytest
import torch
import yaml

from fgd_yolo import FGDTrainer
from fgd_yolo.cli.distill_command import main
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.ultralytics import load_model
from shell import Shell
from training import OFF, quick_config, train

HOSTILE = {0: "disc\x1b[2J\x1b]0;owned\x07", 1: "blo\x9bck\n", 2: "wed\u202e\u200bge\r"}
# Control sequences of Ultralytics itself: colours, and clearing the line of a progress bar.
ULTRALYTICS = re.compile(r"\x1b\[(?:\d*m|K)")


def give_names(data: Path) -> Path:
    description = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({**description, "names": HOSTILE}))
    return data


def assert_printable(text: str) -> None:
    strange = [line for line in re.split(r"[\n\r\t]", ULTRALYTICS.sub("", text)) if not line.isprintable()]
    assert not strange, strange[:3]


@pytest.fixture
def hostile_teacher(teacher_pt, tmp_path) -> Path:
    """A checkpoint with the hostile class names, as Ultralytics would have trained it."""
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].names = dict(HOSTILE)
    torch.save(checkpoint, tmp_path / "teacher.pt")
    return tmp_path / "teacher.pt"


@pytest.mark.slow
def test_a_run_prints_no_control_characters(tmp_path):
    shell = Shell(tmp_path)
    give_names(shell.data)
    (tmp_path / "data/images/train/bad\x1b[2J\x9b.png").write_bytes(b"not an image")
    (tmp_path / "narrow\x1b[2J.yaml").write_text(shell.narrow.read_text())
    shell.narrow = tmp_path / "narrow\x1b[2J.yaml"
    run = shell.run(shell.job("--recipe", "plain", "name=hostile"))
    assert run.returncode == 0, run.stderr
    assert_printable(run.stdout + run.stderr)
    assert "disc?[2J" in run.stdout and "bad?[2J?.png" in run.stdout
    folder = tmp_path / "runs/distill/hostile"
    names_in_checkpoint = torch.load(folder / "student.pt", weights_only=False)["model"].names
    exported = {entry.key: entry.value for entry in onnx.load(folder / "student.onnx").metadata_props}
    assert names_in_checkpoint == literal_eval(exported["names"])
    assert list(names_in_checkpoint) == [0, 1, 2] and all(name.isprintable() for name in names_in_checkpoint.values())


@pytest.mark.slow
def test_a_teacher_with_the_same_hostile_names_has_the_classes_of_the_data(hostile_teacher, student_yaml, tmp_path):
    from fixtures import draw_dataset

    data = give_names(draw_dataset(tmp_path / "data", train=4, val=3))
    distiller = FGDTrainer.with_teacher(hostile_teacher, config=quick_config())
    trainer = train(distiller, student_yaml, data, tmp_path, epochs=1)
    assert trainer.data["names"] == trainer.model.names == load_model(hostile_teacher)[0].names
    assert all(name.isprintable() for name in trainer.data["names"].values())


@pytest.mark.slow
def test_the_rows_of_known_classes_are_still_matched_by_name(hostile_teacher, tmp_path):
    """Ultralytics copies the rows of classes whose names are in the new data; here in another order."""
    from fixtures import draw_dataset

    data = draw_dataset(tmp_path / "data", train=4, val=3)
    description = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({**description, "names": {0: HOSTILE[2], 1: HOSTILE[0], 2: HOSTILE[1]}}))
    plain = FGDTrainer.with_teacher(None, config=quick_config(OFF))
    overrides = {"model": str(hostile_teacher), "data": str(data), "imgsz": 64, "epochs": 1, "device": "cpu"}
    trainer = plain(overrides={**overrides, "project": str(tmp_path), "plots": False})
    trainer.setup_model()
    before = torch.load(hostile_teacher, weights_only=False)["model"].float().model[-1].cv3[0][-1].weight
    assert torch.equal(trainer.model.model[-1].cv3[0][-1].weight, before[[2, 0, 1]])


def test_data_in_a_folder_whose_name_has_control_characters_is_refused(tmp_path):
    from fixtures import draw_dataset

    data = draw_dataset(tmp_path / "da\x1b[2Jta", train=2, val=2)
    with pytest.raises(FGDError, match="cannot be printed: rename that folder"):
        scan_dataset(str(data), {})


def test_thousands_of_missing_files_are_one_short_line(tmp_path, student_yaml, capfd):
    from fixtures import draw_dataset

    data = draw_dataset(tmp_path / "data", train=2, val=2)
    description = yaml.safe_load(data.read_text())
    missing = [f"{tmp_path}/missing/{number:04}.jpg" for number in range(3000)]
    data.write_text(yaml.safe_dump({**description, "val": missing}))
    assert main(["--student", str(student_yaml), "--recipe", "plain", "--data", str(data)]) == 1
    line = capfd.readouterr().err
    assert line.startswith("error: the images of ") and line.count("\n") == 1 and len(line) <= 301
