"""What the trainer decides before its first epoch; its trainings are in `tests/integration/test_trainer.py`."""

from types import SimpleNamespace

import pytest

from fgd_yolo.config import FGDConfig
from fgd_yolo.task_table import TASKS
from fgd_yolo.training.trainer import FGDTrainer

BOTH, ALL = ["head_cls", "head_box"], ["head_cls", "head_box", "head_dfine"]


@pytest.mark.parametrize(
    ("method", "taught", "whole"),
    [("heads+dfine", ALL, True), ("heads+dfine", BOTH, False), ("heads", BOTH, True), ("heads", ["head_cls"], False)],
)
def test_a_teacher_teaches_all_of_a_method_or_not(method, taught, whole):
    trainer = SimpleNamespace(
        config=FGDConfig(method=method), task=TASKS["detect"], distiller=SimpleNamespace(names=taught)
    )
    assert FGDTrainer._distils_all.fget(trainer) is whole
