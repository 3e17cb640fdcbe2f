"""A restarted process finds the run that its own torchrun has launched with the same options, and no other."""

from __future__ import annotations

import os

import pytest

from fgd_yolo.config import Recipe
from fgd_yolo.workflow.elastic_restart import LAUNCH, interrupted_run, record_launch
from fgd_yolo.workflow.run_folder import RECIPE as RUN_OPTIONS
from fgd_yolo.workflow.run_folder import save_recipe

RECIPE = Recipe(student="yolov8n", method="plain")


@pytest.fixture
def become(monkeypatch):
    """A function that makes this process another one of a torchrun."""

    def become_process(torchrun: str, process: str) -> None:
        names = {os.getppid(): torchrun, os.getpid(): process}
        monkeypatch.setattr("fgd_yolo.workflow.elastic_restart.process_identity", names.get)

    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")  # as on a machine whose own processes did not fail
    become_process("torchrun-1", "rank-1")
    return become_process


@pytest.fixture
def runs(tmp_path, become):
    """A folder with two runs, the second launched by this process."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_recipe(tmp_path / name, RECIPE)
    record_launch(tmp_path / "b", RECIPE)
    return tmp_path


def test_a_restarted_process_finds_its_run_and_a_first_one_starts_a_new_one(runs, become):
    assert interrupted_run(runs, RECIPE) is None, "a second run of the same process"
    become("torchrun-1", "rank-2")
    assert interrupted_run(runs, RECIPE) == runs / "b"
    assert interrupted_run(runs, RECIPE.override(train={"epochs": 3})) is None, "of other options"
    assert interrupted_run(runs / "none", RECIPE) is None


def test_the_run_of_another_torchrun_is_not_taken(runs, become):
    become("torchrun-2", "rank-2")
    assert interrupted_run(runs, RECIPE) is None


def test_a_folder_without_options_is_not_a_run_to_continue(runs, become):
    become("torchrun-1", "rank-2")
    (runs / "b" / RUN_OPTIONS).unlink()
    assert interrupted_run(runs, RECIPE) is None


def test_without_torchrun_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    record_launch(tmp_path, RECIPE)
    assert not (tmp_path / LAUNCH).exists() and interrupted_run(tmp_path.parent, RECIPE) is None


def test_a_damaged_record_is_not_a_run(runs, become):
    become("torchrun-1", "rank-2")
    (runs / "a" / LAUNCH).write_bytes(bytes(range(256)))
    assert interrupted_run(runs, RECIPE) == runs / "b"
