"""Teachers of students of each task: untrained, too weak, several with some classes each, and of another task."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import pytest

from fgd_yolo import FGDError, FGDTrainer
from fgd_yolo.cli.visualize_command import main as visualize
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import UsageError
from fgd_yolo.task_table import TASKS
from fgd_yolo.ultralytics import load_model
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.training_stages import prepare_teacher
from fixtures import CLASSES, TaskFiles, narrow_yaml, rename_classes, save_checkpoint, task_files
from training import OFF, STEADY, quick_config, rows, train

pytestmark = pytest.mark.slow
ALL = pytest.mark.parametrize("task", TASKS)
FEATURES = {"fg_loss", "bg_loss", "attn_loss", "rel_loss"}
HEADS = {
    "detect": {"head_cls", "head_box"},
    "segment": {"head_cls", "head_box", "head_mask"},
    "pose": {"head_cls", "head_box", "head_keypoint", "head_visibility"},
    "obb": {"head_cls", "head_box", "head_angle"},
}
# The task of the teacher, the terms of its head, and parts of the lines on what it teaches and how it is measured.
OTHER = {
    "detect": ("segment", {"head_cls", "head_box"}, "its head teaches class scores and boxes", "of its boxes"),
    "segment": ("detect", {"head_cls", "head_box"}, "class scores and boxes, not masks; a teacher for", "of its boxes"),
    "pose": ("detect", {"head_cls", "head_box"}, "class scores and boxes, not keypoints and", "of its boxes"),
    "obb": ("detect", {"head_cls"}, "its head teaches class scores, not boxes", "its mAP is not checked"),
}


@pytest.fixture
def files(task, tmp_path) -> TaskFiles:
    return task_files(tmp_path / task, task)


def distil(task: str, teachers: list[Path], files: TaskFiles, folder: Path, **options):
    """Train a student for one epoch and return the trainer."""
    trainer_class = FGDTrainer.with_teacher(teachers, quick_config({**STEADY, **options}))
    return train(trainer_class, files.student, files.data, folder, task=task, epochs=1)


def terms(trainer) -> set[str]:
    """Return the loss items of the distillation, which must all have been greater than 0."""
    (row,) = rows(trainer)
    items = {name: float(row[f"train/{name}"]) for name in trainer.distiller.names}
    assert all(value > 0 for value in items.values()), items
    return set(items)


@ALL
def test_a_teacher_without_weights_is_trained_on_the_data_first(task, files, tmp_path):
    dataset = scan_dataset(files.data, {"task": task}).copy_to(tmp_path / "copy")
    teacher = resolve(files.student, "teacher")
    small = {"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "plots": False, "task": teacher.task.name}
    checkpoint = prepare_teacher(teacher, dataset, small, tmp_path / "run")
    model, _ = load_model(checkpoint)
    assert model.task == task and tuple(model.names.values()) == CLASSES
    assert checkpoint.parent.name == "teachers"  # in the cache


@ALL
def test_the_attention_of_a_teacher_and_its_student_is_drawn(task, files, capsys):
    models = {"--teacher": files.teacher, "--before": files.teacher, "--after": files.teacher}
    words = [str(word) for pair in {**models, "--source": files.data}.items() for word in pair]
    assert visualize([*words, "--device", "cpu", "--project", ".", "--name", "out", "--count", "1"]) == 0
    (picture,) = Path("out").glob("*.png")
    assert cv2.imread(str(picture)).std() > 10


@ALL
def test_a_teacher_below_the_minimum_stops_the_run(task, files, tmp_path):
    with pytest.raises(FGDError, match=r"the teacher reaches mAP50-95 0\.\d+ on this validation set, below 0\.9"):
        distil(task, [files.teacher], files, tmp_path, **{"checks.min_teacher_map": 0.9})


@ALL
def test_two_teachers_that_know_some_classes_each_teach_a_student(task, files, tmp_path, caplog):
    teachers = [
        rename_classes(files.teacher, tmp_path / "first.pt", "disc", "cat", "ball"),
        rename_classes(files.teacher, tmp_path / "second.pt", "ant", "block", "bee"),
    ]
    with caplog.at_level(logging.INFO):
        trainer = distil(task, teachers, files, tmp_path)
    assert terms(trainer) == FEATURES | HEADS[task]
    assert [teacher.known for teacher in trainer.distiller.head_teachers] == [[0], [1]]
    assert "second.pt knows 1 of the 3 classes of the data: block; unknown: disc, wedge" in caplog.text
    assert "shares of the teachers in the heads: first.pt" in caplog.text


@ALL
def test_a_teacher_of_another_task_teaches_a_student_what_both_predict(task, files, tmp_path, caplog):
    other, heads, note, measured = OTHER[task]
    teacher = task_files(tmp_path / other, other).teacher
    with caplog.at_level(logging.INFO):
        trainer = distil(task, [teacher], files, tmp_path)
    assert terms(trainer) == FEATURES | heads
    assert f"the teacher is a model for {other}, the student for {task}: " in caplog.text
    assert note in caplog.text and measured in caplog.text


@pytest.mark.parametrize(
    ("shape", "heads", "line"),
    [
        ([5, 3], {"head_cls", "head_box"}, "the teacher predicts 5 keypoints, the student 3: they are not imitated"),
        ([3, 2], {"head_cls", "head_box", "head_keypoint"}, "visibility of keypoints, the teacher does not"),
    ],
)
def test_a_teacher_of_other_keypoints_teaches_without_what_differs(shape, heads, line, tmp_path, caplog):
    files = task_files(tmp_path / "pose", "pose")
    wide = narrow_yaml(tmp_path / "other.yaml", 0.125, "pose", kpt_shape=shape)
    teacher = save_checkpoint(tmp_path / "other.pt", wide, files.data, task="pose")
    with caplog.at_level(logging.INFO):
        trainer = distil("pose", [teacher], files, tmp_path)
    assert terms(trainer) == FEATURES | heads
    assert line in caplog.text and "of its boxes on this val set" in caplog.text


def test_terms_that_no_teacher_can_teach_stop_the_run_with_those_that_it_can(tmp_path):
    files = task_files(tmp_path / "obb", "obb")
    teacher = task_files(tmp_path / "detect", "detect").teacher
    with pytest.raises(UsageError, match=r"weight 0 \(heads.cls_weight, features\): give one of them a weight, add"):
        distil("obb", [teacher], files, tmp_path, **{**OFF, "method": "fgd+heads", "heads.cls_weight": 0})
