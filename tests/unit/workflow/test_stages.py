"""The stages of a run say what they are expected to take, and what they took."""

from __future__ import annotations

import pytest

from fgd_yolo.config import load_recipe
from fgd_yolo.locking import FolderLock
from fgd_yolo.workflow import stages
from fgd_yolo.workflow.plan import make_plan
from fgd_yolo.workflow.stages import run_stages
from fgd_yolo.workflow.time_estimate import StageSeconds
from fixtures import draw_dataset


@pytest.mark.parametrize("estimate", [StageSeconds(200, 100, 20, 10), None])
def test_what_the_stages_are_expected_to_take_is_printed_before_them_and_beside_what_they_took(
    estimate, student_yaml, tmp_path, monkeypatch, capsys
):
    data = draw_dataset(tmp_path / "data", train=4, val=3)
    options = {"student": str(student_yaml), "data": str(data), "train": {"device": "cpu", "imgsz": 64}}
    plan, clock = make_plan(load_recipe("plain").override(**options)), iter([0.0, 250.0, 340.0, 365.0, 375.0])
    names = ["_teachers", "_distil", "_measure", "_export"]
    for name in names:
        monkeypatch.setattr(stages, name, lambda *args, name=name: print(name))
    monkeypatch.setattr(stages, "estimate_run", lambda *args: estimate)
    monkeypatch.setattr(stages, "perf_counter", lambda: next(clock))
    capsys.readouterr()
    with FolderLock(tmp_path) as lock:
        run_stages(plan, lock)
    expected = "6 min: teacher 3 min, student 2 min, measuring 20 s, export 10 s"
    took = "6 min: teacher 4 min, student 2 min, measuring 25 s, export 10 s"
    before, after = [f"      expected on this device: {expected}"], [f"      took {took} (expected {expected})"]
    assert capsys.readouterr().out.splitlines() == ([*before, *names, *after] if estimate else names)
