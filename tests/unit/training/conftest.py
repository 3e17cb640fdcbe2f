"""A student with a distiller attached by a loss hook, as in the trainer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def model(student_yaml):
    """A live student, as Ultralytics trains it."""
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(str(student_yaml), nc=3, verbose=False).train()
    model.args = get_cfg()
    return model


@pytest.fixture
def joined(teacher_pt, student_yaml):
    """A student, its distiller for the neck alone, and the loss hook that joins them, attached."""
    return join(teacher_pt, student_yaml, **{"method": "fgd"})


@pytest.fixture
def heads_joined(teacher_pt, student_yaml):
    """The same with the heads imitated too, at five times the gradient ratio."""
    return join(teacher_pt, student_yaml, **{"method": "fgd+heads", "features.ratio": 0.1, "heads.ratio": 0.5})


def join(teacher_pt, student_yaml, known: list[int] | None = None, **options) -> SimpleNamespace:
    """Attach a distiller with options of the configuration to a student; the teacher teaches all that it can."""
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    from fgd_yolo.config import FGDConfig
    from fgd_yolo.neck import pair_levels
    from fgd_yolo.training.heads.head_methods import terms_of_methods
    from fgd_yolo.training.step.distiller import Distiller
    from fgd_yolo.training.step.loss_hook import LossHook
    from fgd_yolo.training.teachers.teacher import FrozenTeacher, Teacher
    from fgd_yolo.ultralytics import load_model

    torch.manual_seed(0)
    student = DetectionModel(str(student_yaml), nc=3, verbose=False).train()
    student.args = get_cfg()
    teacher, _ = load_model(teacher_pt)
    levels = pair_levels(student, teacher)
    config = FGDConfig.from_dict({"schedule.warmup_epochs": 0, **options})
    terms = ("cls", "box", *terms_of_methods(("cls", "box"), student, teacher))
    frozen = FrozenTeacher(teacher, torch.device("cpu"), heads=any(config.heads.weights.values()))
    distiller = Distiller([Teacher("teacher.pt", frozen, levels, known, terms)], config)
    loss_hook = LossHook(student, distiller.step, head=any(config.heads.weights.values()))
    loss_hook.attach()
    return SimpleNamespace(student=student, distiller=distiller, loss_hook=loss_hook)
