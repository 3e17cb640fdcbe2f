"""Options taken from a run folder, checks that the run is unchanged, and the choice of alignments."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.methods import build_level_loss
from fgd_yolo.neck import Level
from fgd_yolo.training.checkpoints import SIDE, write_side_file
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import (
    DATA,
    INPUTS,
    STUDENT,
    Input,
    checkpoint_input,
    read_inputs,
    read_recipe,
    read_result,
    record_inputs,
    save_recipe,
    save_result,
    teacher_input,
)
from fgd_yolo.workflow.visualize import VisualizeOptions, find_alignments, run_options
from fixtures import draw_dataset, save_checkpoint

LEVELS = [Level(8, 0, 0, 6, 6), Level(16, 1, 1, 4, 6)]
ACCURACY = {"map50_95": 0.4, "map50": 0.7, "box_map50_95": 0.4, "box_map50": 0.7}
ROW = {"name": "n", **ACCURACY, "parameters": 3, "gflops": 8.2, "cpu_ms": 41.0}


@pytest.fixture
def run(tmp_path, teacher_pt, student_yaml):
    """The files of a finished run of distill that are read; returns its folder, teacher and data."""
    data, teacher = draw_dataset(tmp_path / "data"), Path(shutil.copy(teacher_pt, tmp_path / "teacher.pt"))
    run_dir = tmp_path / "run"
    save_recipe(run_dir, Recipe(method="fgd", teacher=str(teacher), student=str(student_yaml), data=str(data)))
    key = sha256(teacher.read_bytes()).hexdigest()
    record_inputs(
        run_dir,
        {
            STUDENT: Input(resolve(student_yaml, "student").digest, str(student_yaml)),
            **{name: Input(key, str(teacher)) for name in (teacher_input(1), checkpoint_input(1))},
            DATA: Input(scan_dataset(str(data), {}).scan.digest, str(data)),
        },
    )
    facts = {
        "task": "detect",
        "method": "fgd",
        "fingerprint": "",
        "seed": 0,
        "imgsz": 96,
        "split": "val",
        "val_images": 6,
    }
    facts |= {"cpu_threads": 1, "data": None, "images": str(data.parent), "train_images": 12}
    facts |= {"epochs": 1, "batch": 16, "nbs": 64, "batches": 1, "optimizer_steps": 0}
    files = {"weights": str(run_dir / "student.pt"), "onnx": None, "teachers": [str(teacher)]}
    save_result(run_dir, {**facts, "teachers": [ROW], "student": ROW, "files": files})
    (run_dir / "student.pt").touch()
    return run_dir, teacher, data


def test_a_run_is_drawn_with_its_own_teacher_and_data(run, tiny_data, capsys):
    run_dir, teacher, data = run
    assert run_options(run_dir, VisualizeOptions()).teacher == teacher
    save_checkpoint(teacher, "yolov8n.yaml", data, seed=3)
    with pytest.raises(FGDError, match=r"was started with another teacher's checkpoint .* with --teacher, --before"):
        run_options(run_dir, VisualizeOptions())
    assert run_options(run_dir, VisualizeOptions(teacher=teacher)).teacher == teacher, (
        "a teacher named by the user needs no check"
    )
    next((data.parent / "images/train").iterdir()).unlink()
    with pytest.raises(FGDError, match=r"was started with other data \(then .*; now .*11 train and 6 val images"):
        run_options(run_dir, VisualizeOptions(teacher=teacher))
    assert run_options(run_dir, VisualizeOptions(teacher=teacher, sources=(str(tiny_data),))).sources == (
        str(tiny_data),
    )
    (run_dir / INPUTS).unlink()
    run_options(run_dir, VisualizeOptions())
    assert "inputs.json is missing or damaged" in capsys.readouterr().out


def test_a_run_of_several_teachers_is_drawn_with_that_of_the_features(run):
    run_dir, teacher, data = run
    teachers = ["other.pt", str(teacher)]
    save_recipe(run_dir, read_recipe(run_dir).replace(teacher=teachers, **{"features.teacher": 2}))
    result = read_result(run_dir)
    save_result(run_dir, {**result, "files": {**result["files"], "teachers": teachers}})
    digest = sha256(teacher.read_bytes()).hexdigest()
    record_inputs(run_dir, {**read_inputs(run_dir), checkpoint_input(2): Input(digest, str(teacher))})
    assert run_options(run_dir, VisualizeOptions()).teacher == teacher
    save_checkpoint(teacher, "yolov8n.yaml", data, seed=3)
    with pytest.raises(FGDError, match="was started with another teacher 2's checkpoint"):
        run_options(run_dir, VisualizeOptions())


@pytest.fixture
def side(tmp_path):
    """Write a side file beside `student.pt` with these changes; return its loss modules and both checkpoints' paths."""
    teacher, student = tmp_path / "teacher.pt", tmp_path / "student.pt"
    teacher.write_bytes(b"teacher")

    def write(folder=tmp_path, levels=LEVELS, **changes):
        config = FGDConfig.from_dict({"method": "fgd", **changes.pop("config", {})})
        losses = torch.nn.ModuleList(
            build_level_loss(level.student_channels, level.teacher_channels, config.feature_methods, config.features)
            for level in levels
        )
        origin = {"teacher": sha256(b"teacher").hexdigest(), "options": config.flat()}
        folder.mkdir(parents=True, exist_ok=True)
        write_side_file(folder, {"epoch": 4, "losses": losses.state_dict(), **origin, **changes})
        return losses, teacher, student

    return write


@pytest.mark.parametrize("place", [".", "student/weights"])
def test_the_alignments_of_the_side_file_are_used_level_by_level(side, tmp_path, place):
    losses, teacher, student = side(tmp_path / place)
    (first, second), note = find_alignments(LEVELS, teacher, student)
    assert first is None, "these maps are equally wide"
    assert torch.equal(second.weight, losses[1].align.weight) and torch.equal(second.bias, losses[1].align.bias)
    assert "the alignment of epoch 5" in note


@pytest.mark.parametrize("method", ["fitnet", "fitnet+cwd+heads"])
def test_the_side_file_of_other_methods_is_read_too(side, method):
    losses, teacher, student = side(config={"method": method})
    (_, second), _ = find_alignments(LEVELS, teacher, student)
    assert torch.equal(second.weight, losses[1].align.weight)


def test_of_several_teachers_the_one_of_the_features_is_aligned(side):
    digest = sha256(b"teacher").hexdigest()
    losses, teacher, student = side(teacher=f"another,{digest}", config={"features.teacher": 2})
    (_, second), _ = find_alignments(LEVELS, teacher, student)
    assert torch.equal(second.weight, losses[1].align.weight)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"teacher": "another"}, "by another teacher"),
        ({"teacher": f"another,{sha256(b'teacher').hexdigest()}"}, "by another teacher"),
        ({"levels": [LEVELS[0], Level(16, 1, 1, 5, 6)]}, "of another width"),
        ({"levels": [LEVELS[0], Level(16, 1, 1, 6, 6)]}, "of another width"),
        (
            {"config": {f"features.{name}_weight": 0 for name in ("fg", "bg", "attn", "rel")}},
            "compared no maps",
        ),
    ],
)
def test_a_side_file_that_does_not_fit_is_ignored_and_the_note_gives_the_reason(side, changes, reason):
    _, teacher, student = side(**changes)
    aligns, note = find_alignments(LEVELS, teacher, student)
    assert aligns == [None, None]
    assert "channels, which cannot be paired, are left out" in note and reason in note


def test_a_damaged_side_file_is_ignored(side):
    _, teacher, student = side()
    (student.parent / SIDE).write_bytes(b"half of it")
    aligns, note = find_alignments(LEVELS, teacher, student)
    assert aligns == [None, None] and note.endswith(f"{SIDE} is damaged.")


def test_a_missing_side_file_is_noted(tmp_path):
    (tmp_path / "teacher.pt").write_bytes(b"teacher")
    aligns, note = find_alignments(LEVELS, tmp_path / "teacher.pt", tmp_path / "best.pt")
    assert aligns == [None, None] and "no fgd_last.safetensors beside best.pt" in note


def test_equally_wide_maps_need_no_side_file(tmp_path):
    aligns, note = find_alignments(LEVELS[:1], tmp_path / "none.pt", tmp_path / "none.pt")
    assert aligns == [None] and "as wide as the teacher's" in note
