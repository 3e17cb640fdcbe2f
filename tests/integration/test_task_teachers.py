"""Teachers of students of each task: too weak, several that know some classes each, and of another task."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fgd_yolo import FGDError, FGDTrainer
from fgd_yolo.task_table import TASKS
from fixtures import TaskFiles, rename_classes, task_files
from training import STEADY, quick_config, rows, train

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("task", TASKS)]
FEATURES = {"fg_loss", "bg_loss", "attn_loss", "rel_loss"}
HEADS = {
    "detect": {"head_cls", "head_box"},
    "segment": {"head_cls", "head_box", "head_mask"},
    "pose": {"head_cls", "head_box", "head_keypoint", "head_visibility"},
    "obb": {"head_cls", "head_box", "head_angle"},
}
# The task of the teacher, the terms of its head, and parts of the lines on what it teaches and how it is measured.
OTHER = {
    "detect": ("segment", {"head_cls", "head_box"}, "it teaches class scores, boxes and features", "of its boxes"),
    "segment": ("detect", {"head_cls", "head_box"}, "boxes and features, not masks; a teacher for", "of its boxes"),
    "pose": ("detect", {"head_cls", "head_box"}, "boxes and features, not keypoints and", "of its boxes"),
    "obb": ("detect", {"head_cls"}, "it teaches class scores and features, not boxes", "its mAP is not checked"),
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


def test_a_teacher_below_the_minimum_stops_the_run(task, files, tmp_path):
    with pytest.raises(FGDError, match=r"the teacher reaches mAP50-95 0\.\d+ on this validation set, below 0\.9"):
        distil(task, [files.teacher], files, tmp_path, **{"checks.min_teacher_map": 0.9})


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


def test_a_teacher_of_another_task_teaches_a_student_what_both_predict(task, files, tmp_path, caplog):
    other, heads, note, measured = OTHER[task]
    teacher = task_files(tmp_path / other, other).teacher
    with caplog.at_level(logging.INFO):
        trainer = distil(task, [teacher], files, tmp_path)
    assert terms(trainer) == FEATURES | heads
    assert f"the teacher is a model for {other}, the student for {task}: " in caplog.text
    assert note in caplog.text and measured in caplog.text
