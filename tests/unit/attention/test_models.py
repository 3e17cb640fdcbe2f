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


def test_models_of_other_channels_are_refused_with_both_numbers(teacher_pt, student_yaml, tiny_data, tmp_path):
    colour = save_checkpoint(tmp_path / "colour.pt", student_yaml, tiny_data)
    grey = save_checkpoint(tmp_path / "grey.pt", student_yaml, tiny_data, channels=1)
    assert load_models(teacher_pt, colour, colour, CPU).channels == 3
    for before, after, state in ((grey, grey, "before"), (colour, grey, "after")):
        with pytest.raises(FGDError, match=rf"teacher\.pt reads 3-channel images, student '{state}' 1: give models"):
            load_models(teacher_pt, before, after, CPU)
