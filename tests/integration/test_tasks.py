"""A student of every task is distilled from a teacher of the same task, on real images of a few epochs."""

from __future__ import annotations

import pytest
from ultralytics import YOLO

from fgd_yolo import FGDTrainer
from fgd_yolo.task_table import TASKS
from fgd_yolo.ultralytics import load_model
from fixtures import KEYPOINTS, draw_dataset, narrow_yaml, save_checkpoint
from training import quick_config, rows

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
    (row,) = rows(trainer)
    assert all(float(row[f"train/{name}"]) > 0 for name in trainer.distiller.names)
    assert load_model(trainer.best)[0].task == task
