from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.console import command_name, format_classes, format_duration, progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (600, "10 min"),
        (5400, "1 h 30 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_have_at_most_two_units(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({0: "cat"}, "1 class (cat)"),
        ({0: "cat", 1: "dog"}, "2 classes (cat, dog)"),
        (dict(enumerate("abcdef")), "6 classes (a, b, c, d, ...)"),
        ({0: 7}, "1 class (7)"),
    ],
)
def test_classes_are_counted_and_the_first_are_named(names, text):
    assert format_classes(names) == text


def _make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\necho "$0 $*"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("place", [".venv/bin/python", "my env/bin/python", "python"])
def test_a_script_of_a_checkout_prints_the_python_that_runs_it(monkeypatch, place):
    python = _make_program(Path.cwd() / place)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setattr("sys.argv", ["a checkout/tools/distill.py"])
    printed = command_name("export")
    assert not shlex.split(printed)[0].startswith("/"), "short where it lies below this folder"
    said = subprocess.run(printed, shell=True, capture_output=True, text=True, check=True).stdout
    assert Path(said.split(" a checkout")[0]).samefile(python)
    assert said.endswith(" a checkout/deploy/export.py\n")


def test_a_python_from_elsewhere_is_printed_in_full(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "env/bin/python"))
    monkeypatch.setattr("sys.argv", ["tools/distill.py"])
    assert command_name("distill") == f"{tmp_path}/env/bin/python tools/distill.py"


def test_an_installed_command_is_printed_with_its_folder_only_where_the_shell_would_not_find_it(monkeypatch):
    installed = _make_program(Path.cwd() / ".venv/bin/fgd-yolo")
    monkeypatch.setattr("sys.executable", str(installed.with_name("python")))
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert command_name("distill") == ".venv/bin/fgd-yolo distill"
    monkeypatch.setenv("PATH", f"{installed.parent}:/usr/bin:/bin")
    assert command_name("distill") == "fgd-yolo distill"


def test_wording_does_not_load_torch():
    code = "import sys, fgd_yolo.console; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_items_pass_in_order_and_one_line_counts_them_where_nobody_watches(capsys):
    assert list(progress(["a", "b"], "working")) == ["a", "b"]
    assert capsys.readouterr() == ("", "working: 2\n")


def test_a_terminal_sees_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress(range(3), "working")) == [0, 1, 2]
    assert "working: 100%" in capsys.readouterr().err
