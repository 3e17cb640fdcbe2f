"""The plan of an existing run is rebuilt from its folder."""

from __future__ import annotations

import pytest
import yaml

from fgd_yolo.config import load_recipe
from fgd_yolo.workflow.distill import _inputs, _recorded_plan
from fgd_yolo.workflow.plan import make_plan
from fgd_yolo.workflow.run_folder import record_inputs, save_recipe
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
