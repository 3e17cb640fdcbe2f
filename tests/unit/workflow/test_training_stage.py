"""One training inside a run folder, met again after it has ended."""

from __future__ import annotations

import shutil

import pytest

from fgd_yolo.errors import FGDError
from fgd_yolo.workflow.training_stage import train_stage


def test_a_training_that_has_ended_is_not_begun_again_and_keeps_no_lock_of_a_killed_process(teacher_pt, tmp_path):
    weights = tmp_path / "student/weights"
    weights.mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        shutil.copy(teacher_pt, weights / name)
    (tmp_path / "student/.lock").touch()
    (tmp_path / "student/.lock.json").write_text('{"pid": 1, "host": "here", "since": "yesterday"}')
    best = train_stage("none.pt", None, "none.yaml", tmp_path / "student", {})
    assert best == weights / "best.pt"
    assert [path.name for path in (tmp_path / "student").iterdir()] == ["weights"]


def test_a_damaged_best_checkpoint_is_named_with_the_way_to_go_on(teacher_pt, tmp_path):
    weights = tmp_path / "student/weights"
    weights.mkdir(parents=True)
    shutil.copy(teacher_pt, weights / "last.pt")
    (weights / "best.pt").write_bytes(bytes(range(256)))
    with pytest.raises(
        FGDError, match=r"best\.pt is damaged .*: copy last\.pt over it to take the last epoch's"
    ) as error:
        train_stage("none.pt", None, "none.yaml", tmp_path / "student", {})
    assert len(str(error.value)) < 300
