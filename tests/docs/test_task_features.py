"""Every mark in the table of the tasks stands for a test that exists and runs, some of them by `make test-long`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import task_features

from fgd_yolo.task_table import TASKS

ROOT = Path(__file__).parents[2]
# Collects tests and writes the markers of each that keep it from running, or its failure from counting.
COLLECT = """
import json, sys, pytest
class Collector:
    def pytest_collection_finish(self, session):
        hindering = {"skip", "skipif", "xfail"}
        found = {item.nodeid: [m.name for m in item.iter_markers() if m.name in hindering] for item in session.items}
        open(sys.argv[1], "w").write(json.dumps(found))
sys.exit(pytest.main(["--collect-only", "-q", "-m", "", *sys.argv[2:]], plugins=[Collector()]))
"""


@pytest.mark.slow
def test_every_mark_names_a_test_that_is_collected_and_runs(tmp_path):
    named = {test for tests in task_features.FEATURES.values() for test in tests.values()}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-c", COLLECT, str(tmp_path / "found.json"), *files]
    collection = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert collection.returncode == 0, collection.stdout[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert sorted(named - found.keys()) == []
    assert {test: found[test] for test in named if found[test]} == {}


def test_a_step_without_a_test_is_not_available(monkeypatch):
    monkeypatch.setattr(task_features, "FEATURES", {"walk": {"detect": "tests/a.py::b", "obb": "tests/a.py::c"}})
    assert list(task_features.rows()) == [["walk", "✓", "not available", "not available", "✓"]]


def test_the_table_has_a_column_for_every_task():
    assert tuple(TASKS) == task_features.TASKS
    assert all(tests.keys() <= set(TASKS) for tests in task_features.FEATURES.values())
