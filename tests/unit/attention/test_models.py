"""Loading the compared models."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.attention.models import load_models, neck_maps
from fgd_yolo.errors import FGDError
from fixtures import save_checkpoint

CPU = torch.device("cpu")


def test_models_are_loaded_ready_to_run(teacher_pt, student_yaml, tiny_data, tmp_path):
    before = save_checkpoint(tmp_path / "before.pt", student_yaml, tiny_data, seed=1)
    after = save_checkpoint(tmp_path / "after.pt", student_yaml, tiny_data, seed=2)
    models = load_models(teacher_pt, before, after, CPU)
    assert list(models.students) == ["before", "after"] and models.stride == 32
    assert [level.stride for level in models.levels] == [8, 16, 32]
    maps, _ = neck_maps(models.students["after"], torch.rand(1, 3, 64, 64))
    assert [tuple(neck_map.shape[1:]) for neck_map in maps] == [(32, 8, 8), (64, 4, 4), (128, 2, 2)]
    assert not models.students["after"].model[-1]._forward_pre_hooks, "the hook was not removed"


def test_two_different_students_are_refused(teacher_pt, student_yaml, tiny_data, tmp_path):
    after = save_checkpoint(tmp_path / "after.pt", student_yaml, tiny_data)
    with pytest.raises(FGDError, match="not the same student"):
        load_models(teacher_pt, teacher_pt, after, CPU)
