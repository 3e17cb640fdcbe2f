"""Which models are compared, and through which alignment."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256

import pytest
import torch

from fgd_yolo.attention.models import find_alignments, load_models, neck_maps
from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError
from fgd_yolo.neck import Level
from fgd_yolo.training.checkpoints import SIDE, write_side_file
from fgd_yolo.training.distiller import level_loss
from fixtures import save_checkpoint

CPU = torch.device("cpu")
LEVELS = [Level(8, 0, 0, 6, 6), Level(16, 1, 1, 4, 6)]


@pytest.fixture
def side(tmp_path):
    """Write a side file beside `student.pt` with these changes; return its loss modules and both checkpoints' paths."""
    teacher, student = tmp_path / "teacher.pt", tmp_path / "student.pt"
    teacher.write_bytes(b"teacher")

    def write(folder=tmp_path, levels=LEVELS, **changes):
        config = FGDConfig(**changes.pop("config", {}))
        losses = torch.nn.ModuleList(level_loss(config, level) for level in levels)
        origin = {"teacher": sha256(b"teacher").hexdigest(), "options": asdict(config)}
        folder.mkdir(parents=True, exist_ok=True)
        write_side_file(folder, {"epoch": 4, "losses": losses.state_dict(), **origin, **changes})
        return losses, teacher, student

    return write


@pytest.mark.parametrize("place", [".", "student/weights"])
def test_the_alignments_of_the_side_file_are_used_level_by_level(side, tmp_path, place):
    losses, teacher, student = side(tmp_path / place)
    (first, second), seen = find_alignments(LEVELS, teacher, student)
    assert first is None, "these maps are equally wide"
    assert torch.equal(second.weight, losses[1].align.weight) and torch.equal(second.bias, losses[1].align.bias)
    assert "the alignment of epoch 5" in seen


def test_a_fitnet_side_file_is_read_too(side):
    losses, teacher, student = side(config={"method": "fitnet"})
    (_, second), _ = find_alignments(LEVELS, teacher, student)
    assert torch.equal(second.weight, losses[1].align.weight)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"teacher": "another"}, "by another teacher"),
        ({"levels": [LEVELS[0], Level(16, 1, 1, 5, 6)]}, "of another width"),
        ({"levels": [LEVELS[0], Level(16, 1, 1, 6, 6)]}, "of another width"),
        (
            {"config": {f"{name}_weight": 0 for name in ("fg", "bg", "attn", "rel")}},
            "compared no maps",
        ),
    ],
)
def test_a_side_file_that_does_not_fit_is_left_aside_and_the_sentence_says_why(side, changes, reason):
    _, teacher, student = side(**changes)
    aligns, seen = find_alignments(LEVELS, teacher, student)
    assert aligns == [None, None]
    assert "channels, which cannot be paired, are left out" in seen and reason in seen


def test_a_damaged_side_file_is_left_aside(side):
    _, teacher, student = side()
    (student.parent / SIDE).write_bytes(b"half of it")
    aligns, seen = find_alignments(LEVELS, teacher, student)
    assert aligns == [None, None] and seen.endswith(f"{SIDE} is damaged.")


def test_without_a_side_file_the_sentence_says_so(tmp_path):
    (tmp_path / "teacher.pt").write_bytes(b"teacher")
    aligns, seen = find_alignments(LEVELS, tmp_path / "teacher.pt", tmp_path / "best.pt")
    assert aligns == [None, None] and "no fgd_last.safetensors beside best.pt" in seen


def test_equally_wide_maps_need_no_side_file(tmp_path):
    aligns, seen = find_alignments(LEVELS[:1], tmp_path / "none.pt", tmp_path / "none.pt")
    assert aligns == [None] and "as wide as the teacher's" in seen


def test_models_are_loaded_ready_to_run(teacher_pt, student_yaml, tiny_data, tmp_path):
    before = save_checkpoint(tmp_path / "before.pt", student_yaml, tiny_data, seed=1)
    after = save_checkpoint(tmp_path / "after.pt", student_yaml, tiny_data, seed=2)
    models = load_models(teacher_pt, before, after, CPU)
    assert list(models.students) == ["before", "after"] and models.stride == 32
    assert [level.stride for level in models.levels] == [8, 16, 32]
    maps, _ = neck_maps(models.students["after"], torch.rand(1, 3, 64, 64))
    assert [tuple(neck_map.shape[1:]) for neck_map in maps] == [(32, 8, 8), (64, 4, 4), (128, 2, 2)]
    assert not models.students["after"].model[-1]._forward_pre_hooks, "the hook was left on"


def test_two_students_that_differ_are_refused(teacher_pt, student_yaml, tiny_data, tmp_path):
    after = save_checkpoint(tmp_path / "after.pt", student_yaml, tiny_data)
    with pytest.raises(FGDError, match="not the same student"):
        load_models(teacher_pt, teacher_pt, after, CPU)
