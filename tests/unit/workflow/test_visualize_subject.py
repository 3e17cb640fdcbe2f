"""What is looked at of a run is what the run began with."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from fgd_yolo.compare.finished_runs import _check_keys
from fgd_yolo.config import Recipe
from fgd_yolo.errors import FGDError
from fgd_yolo.workflow.dataset_check import check_dataset
from fgd_yolo.workflow.digests import CHECKPOINT, DATA, KEYS, STUDENT, TEACHER, Key, record_keys
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import save_recipe, save_result
from fgd_yolo.workflow.visualize_subject import Subject, of_run
from fixtures import draw_dataset, save_checkpoint

ROW = {"name": "n", "map50_95": 0.4, "map50": 0.7, "parameters": 3, "gflops": 8.2, "cpu_ms": 41.0}


@pytest.fixture
def run(tmp_path, teacher_pt, student_yaml):
    """A finished run of distill, as far as it is looked at; returns its folder, its teacher and its data."""
    data, teacher = draw_dataset(tmp_path / "data"), Path(shutil.copy(teacher_pt, tmp_path / "teacher.pt"))
    run_dir = tmp_path / "run"
    save_recipe(run_dir, Recipe(teacher=str(teacher), student=str(student_yaml), data=str(data)))
    key = sha256(teacher.read_bytes()).hexdigest()
    record_keys(
        run_dir,
        {
            STUDENT: Key(resolve(student_yaml, "student").key, str(student_yaml)),
            **{name: Key(key, str(teacher)) for name in (TEACHER, CHECKPOINT)},
            DATA: Key(check_dataset(str(data), {}).key, str(data)),
        },
    )
    facts = {"method": "fgd", "fingerprint": "", "seed": 0, "imgsz": 96, "split": "val", "val_images": 6}
    facts |= {"cpu_threads": 1, "command": {"student": "s", "data": None, "train": {}}}
    files = {"weights": str(run_dir / "student.pt"), "onnx": None, "teacher": str(teacher)}
    save_result(run_dir, {**facts, "teacher": ROW, "student": ROW, "files": files})
    (run_dir / "student.pt").touch()
    return run_dir, teacher, data


def test_pictures_of_a_run_are_of_its_own_teacher_and_data(run, tiny_data, capsys):
    run_dir, teacher, data = run
    assert of_run(run_dir, Subject()).teacher == teacher
    save_checkpoint(teacher, "yolov8n.yaml", data, seed=3)
    with pytest.raises(FGDError, match=r"began with another teacher's checkpoint .* with --teacher, --before"):
        of_run(run_dir, Subject())
    assert of_run(run_dir, Subject(teacher=teacher)).teacher == teacher, (
        "named by the user, it is the one that is meant"
    )
    next((data.parent / "images/train").iterdir()).unlink()
    with pytest.raises(FGDError, match=r"began with other data \(then .*; now .*11 train and 6 val images"):
        of_run(run_dir, Subject(teacher=teacher))
    assert of_run(run_dir, Subject(teacher=teacher, sources=(str(tiny_data),))).sources == (str(tiny_data),)
    (run_dir / KEYS).unlink()
    of_run(run_dir, Subject())
    assert "keys.json is missing or damaged" in capsys.readouterr().out


def test_a_comparison_takes_no_run_whose_teacher_or_data_changed(run, student_yaml):
    run_dir, teacher, data = run
    models = (str(student_yaml), str(teacher))
    _check_keys(run_dir, check_dataset(str(data), {}), *models)
    save_checkpoint(teacher, "yolov8n.yaml", data, seed=3)
    with pytest.raises(FGDError, match=r"began with another teacher .*or leave this run out"):
        _check_keys(run_dir, check_dataset(str(data), {}), *models)
    teacher.unlink()
    next((data.parent / "images/train").iterdir()).unlink()
    with pytest.raises(FGDError, match=r"began with other data .*or leave this run out"):
        _check_keys(run_dir, check_dataset(str(data), {}), *models)
