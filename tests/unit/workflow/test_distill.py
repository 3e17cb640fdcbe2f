"""The plan of an existing run is rebuilt from its folder."""

from __future__ import annotations

import pytest
import yaml

from fgd_yolo.config import load_recipe
from fgd_yolo.locking import FolderLock
from fgd_yolo.workflow import distill as distill_module
from fgd_yolo.workflow.distill import _inputs, _recorded_plan, _train_and_export
from fgd_yolo.workflow.plan import make_plan
from fgd_yolo.workflow.run_folder import record_inputs, save_recipe
from fgd_yolo.workflow.time_estimate import StageSeconds
from fixtures import draw_dataset


@pytest.fixture
def run(student_yaml, tmp_path):
    """A plain run that was interrupted before its training: its folder, and the data YAML that was given."""
    data = draw_dataset(tmp_path / "data", train=4, val=3)
    options = {"student": str(student_yaml), "data": str(data), "train": {"device": "cpu", "imgsz": 64}}
    plan = make_plan(load_recipe("plain").override(**options))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    save_recipe(run_dir, plan.recipe)
    record_inputs(run_dir, _inputs(plan))
    plan.with_data_copy(run_dir)
    return run_dir, data


def test_the_plain_twin_of_a_resumed_run_names_the_data_that_the_run_was_started_with(run):
    run_dir, data = run
    plan = _recorded_plan(run_dir, None)
    assert plan.dataset.file == run_dir / "data" / data.name, "the training reads the copy"
    assert plan.plain_twin(run_dir).data == str(data)


def test_the_plain_twin_of_a_resumed_run_names_the_copy_if_the_data_means_other_images_now(run):
    run_dir, data = run
    description = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({**description, "train": description["val"]}))
    assert _recorded_plan(run_dir, None).plain_twin(run_dir).data == str(run_dir / "data" / data.name)


@pytest.mark.parametrize("estimate", [StageSeconds(200, 100, 20, 10), None])
def test_what_the_stages_are_expected_to_take_is_printed_before_them_and_beside_what_they_took(
    estimate, run, monkeypatch, capsys
):
    run_dir, _ = run
    plan, clock = _recorded_plan(run_dir, None), iter([0.0, 250.0, 340.0, 365.0, 375.0])
    for stage in ("_teachers", "_distil", "_measure", "_export"):
        monkeypatch.setattr(distill_module, stage, lambda *args, stage=stage: print(stage))
    monkeypatch.setattr(distill_module, "estimate_run", lambda *args: estimate)
    monkeypatch.setattr(distill_module, "perf_counter", lambda: next(clock))
    capsys.readouterr()
    with FolderLock(run_dir) as lock:
        _train_and_export(plan, lock)
    expected = "6 min: teacher 3 min, student 2 min, measuring 20 s, export 10 s"
    took = "6 min: teacher 4 min, student 2 min, measuring 25 s, export 10 s"
    before, after = [f"      expected on this device: {expected}"], [f"      took {took} (expected {expected})"]
    stages = ["_teachers", "_distil", "_measure", "_export"]
    assert capsys.readouterr().out.splitlines() == ([*before, *stages, *after] if estimate else stages)
