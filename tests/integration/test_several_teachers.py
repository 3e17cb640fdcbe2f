"""Two teachers that each know a part of the classes teach one student: the whole way, stopped and resumed."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from fgd_yolo import FGDError, distill
from fgd_yolo.training.step.distiller import Distiller
from fixtures import narrow_yaml, rename_classes, save_checkpoint
from training import STEADY, TERMS, quick_config

pytestmark = pytest.mark.slow
QUICK = {
    **{"imgsz": 64, "batch": 4, "nbs": 4, "device": "cpu", "workers": 0, "plots": False},
    **{"optimizer": "SGD", "warmup_epochs": 0},
}
RUN = Path("runs/distill/two")


@pytest.fixture
def teachers(teacher_pt, tiny_data, tmp_path) -> list[Path]:
    """A teacher of disc, and a wider one of block and wedge."""
    wide = save_checkpoint(tmp_path / "wide.pt", narrow_yaml(tmp_path / "wide.yaml", width=0.375), tiny_data, seed=1)
    return [
        rename_classes(teacher_pt, tmp_path / "discs.pt", "disc", "cat", "dog"),
        rename_classes(wide, tmp_path / "others.pt", "ant", "block", "wedge"),
    ]


def test_a_teacher_below_the_minimum_is_named(teachers, student_yaml, tiny_data):
    with pytest.raises(FGDError, match=r"the teacher discs\.pt reaches mAP50-95 0\.\d+ on .*, below 0\.9"):
        distill(teachers, student_yaml, tiny_data, recipe=quick_config({"checks.min_teacher_map": 0.9}), **QUICK)


@pytest.fixture
def stopped(teachers, student_yaml, tiny_data, monkeypatch) -> list[Path]:
    """A run of two teachers that was stopped in its second epoch; returns the teachers."""
    ended, end_epoch = [], Distiller.end_epoch

    def stop(distiller):
        end_epoch(distiller)
        ended.append(distiller)
        if len(ended) == 2:
            raise KeyboardInterrupt

    config = quick_config({**STEADY, "features.teacher": 2})
    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "end_epoch", stop)
        with pytest.raises(KeyboardInterrupt, match="resume with"):
            distill(",".join(map(str, teachers)), student_yaml, tiny_data, recipe=config, epochs=2, name="two", **QUICK)
    return teachers


def test_two_teachers_teach_what_each_knows_and_a_stopped_run_resumes(stopped, teacher_pt, tmp_path, capfd, caplog):
    inputs = json.loads((RUN / "inputs.json").read_text())
    assert set(inputs) >= {f"{teacher}{part}" for teacher in ("teacher", "teacher 2") for part in ("", "'s checkpoint")}
    original = shutil.copy(stopped[1], tmp_path / "original.pt")
    rename_classes(teacher_pt, stopped[1], "ant", "block", "wedge")
    with pytest.raises(FGDError, match="was started with another teacher 2 "):
        distill(resume=RUN)
    shutil.copy(original, stopped[1])
    result = distill(resume=RUN).metrics
    printed = capfd.readouterr().out
    assert [(row["name"], row["known"]) for row in result["teachers"]] == [
        ("teacher discs", ["disc"]),
        ("teacher others", ["block", "wedge"]),
    ]
    assert result["files"]["teachers"] == [str(teacher) for teacher in stopped]
    assert re.search(r"^teacher discs .*\nteacher others .*\nstudent narrow, fgd\+heads ", printed, re.MULTILINE)
    with (RUN / "student/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row[f"train/{name}"]) > 0 for row in rows for name in TERMS)
    for name in ("discs", "others"):
        assert re.search(rf"teacher {name} has \d\.\d\d M parameters, \d\.\d\d GFLOPs at 64 px", printed)
    assert re.search(r"shares of the teachers in the heads: discs\.pt \d+%, others\.pt \d+%", caplog.text)
