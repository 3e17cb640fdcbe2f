"""A student of every task is distilled from a teacher of the same task, on real images of a few epochs."""

from __future__ import annotations

import pytest
from ultralytics import YOLO

from fgd_yolo import FGDTrainer
from fgd_yolo.task_table import TASKS
from fgd_yolo.ultralytics import load_model
from fixtures import CLASSES, KEYPOINTS, draw_dataset, narrow_yaml, save_checkpoint
from long_cases import long
from training import quick_config, rows

POSE_SHAPE = {"data_kpt_shape": KEYPOINTS["kpt_shape"]}
SMALL = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu", "plots": False, "warmup_epochs": 0, "nbs": 4}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_student_of_each_task_is_trained_by_the_trainer_of_its_task(task, tmp_path):
    data = draw_dataset(tmp_path / "data", task=task)
    wide = narrow_yaml(tmp_path / "t.yaml", 0.25, task, **(KEYPOINTS if task == "pose" else {}))
    teacher = save_checkpoint(tmp_path / "t.pt", wide, data, task=task)
    student = narrow_yaml(tmp_path / f"narrow-{task}.yaml", 0.125, task)
    trainer_class = FGDTrainer.with_teacher(teacher, quick_config())
    model = YOLO(str(student), task=task)
    model.train(trainer=trainer_class, data=str(data), project=str(tmp_path), name="run", **SMALL)
    trainer = model.trainer
    assert isinstance(trainer, trainer_class) and isinstance(trainer, TASKS[task].trainer)
    assert len(trainer.progress_string().split()) == 4 + len(trainer.loss_names)  # no two names run together
    (row,) = rows(trainer)
    assert {f"head_{term}" for term in TASKS[task].head_terms} < set(trainer.distiller.names)
    assert all(float(row[f"train/{name}"]) > 0 for name in trainer.distiller.names)
    assert load_model(trainer.best)[0].task == task


@pytest.mark.slow
@pytest.mark.parametrize("family", [*long("yolo11n"), "yolo26n"])
@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_every_term_of_a_task_teaches_in_other_families(task, family, tmp_path):
    suffix = {"segment": "seg"}.get(task, task)
    data = draw_dataset(tmp_path / "data", train=5, val=2, task=task)
    name = f"{family}-{suffix}.yaml"
    teacher = YOLO(name, task=task)
    teacher.model = TASKS[task].model(name, nc=3, verbose=False, **(POSE_SHAPE if task == "pose" else {}))
    teacher.model.names = dict(enumerate(CLASSES))
    teacher.save(tmp_path / "t.pt")
    student = YOLO(name, task=task)
    trainer_class = FGDTrainer.with_teacher(tmp_path / "t.pt", quick_config())
    student.train(trainer=trainer_class, data=str(data), project=str(tmp_path), name="run", **SMALL)
    distiller = student.trainer.distiller
    assert {f"head_{term}" for term in TASKS[task].head_terms} < set(distiller.names)
    assert distiller.first_batch_checked  # every term is finite, not 0, and reaches the student
