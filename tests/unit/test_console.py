from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fgd_yolo.cli.main import COMMANDS
from fgd_yolo.console import command_name, format_classes, format_duration, progress, resume_command, short_names


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


ROOT = Path(__file__).parents[2]


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
    assert not shlex.split(printed)[0].startswith("/"), "relative to the current folder"
    output = subprocess.run(printed, shell=True, capture_output=True, text=True, check=True).stdout
    assert Path(output.split(" a checkout")[0]).samefile(python)
    assert output.endswith(" a checkout/deploy/export.py\n")


def test_a_python_outside_the_current_folder_is_printed_with_its_full_path(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "env/bin/python"))
    monkeypatch.setattr("sys.argv", ["tools/distill.py"])
    assert command_name("distill") == f"{tmp_path}/env/bin/python tools/distill.py"


def test_an_installed_command_is_printed_with_its_folder_unless_it_is_on_the_path(monkeypatch):
    installed = _make_program(Path.cwd() / ".venv/bin/fgd-yolo")
    monkeypatch.setattr("sys.executable", str(installed.with_name("python")))
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert command_name("distill") == ".venv/bin/fgd-yolo distill"
    monkeypatch.setenv("PATH", f"{installed.parent}:/usr/bin:/bin")
    assert command_name("distill") == "fgd-yolo distill"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_script_in_the_checkout(monkeypatch, name):
    monkeypatch.setattr("sys.argv", [str(ROOT / "tools/compare.py")])
    monkeypatch.setattr("fgd_yolo.console.command_names._is_installed_from", lambda checkout: False)
    script = Path(shlex.split(command_name(name))[-1])
    assert script.is_file() and script.stem == name
    assert f"cli.{name}_command import main" in script.read_text()
    assert f'main(prog="python {script.relative_to(ROOT)}")' in script.read_text()


def test_the_command_that_resumes_a_run_is_quoted_and_short():
    assert resume_command(Path.cwd() / "runs/my n").endswith("distill --resume 'runs/my n'")


def test_the_module_does_not_import_torch():
    code = "import sys, fgd_yolo.console; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_progress_yields_the_items_and_prints_their_number_without_a_terminal(capsys):
    assert list(progress(["a", "b"], "working")) == ["a", "b"]
    assert capsys.readouterr() == ("", "working: 2\n")


def test_progress_shows_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress(range(3), "working")) == [0, 1, 2]
    assert "working: 100%" in capsys.readouterr().err


def test_a_script_prints_fgd_yolo_if_it_is_installed_from_the_checkout_of_the_script(monkeypatch, tmp_path):
    (tmp_path / "tools").mkdir()
    installed = _make_program(tmp_path / ".venv/bin/fgd-yolo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(installed.with_name("python")))
    monkeypatch.setattr("sys.argv", ["tools/distill.py"])
    for place, printed in ((tmp_path, ".venv/bin/fgd-yolo"), (tmp_path / "other", ".venv/bin/python deploy/export.py")):
        record = json.dumps({"url": place.as_uri(), "dir_info": {"editable": True}})
        origin = SimpleNamespace(read_text=lambda name, record=record: record)
        monkeypatch.setattr("fgd_yolo.console.command_names.distribution", lambda name, origin=origin: origin)
        assert command_name("export").startswith(printed)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([], []),
        (["a/best.pt"], ["best.pt"]),
        (["a/one.pt", "b/two.pt"], ["one.pt", "two.pt"]),
        (["runs/a/weights/best.pt", "runs/b/weights/best.pt"], ["a/weights/best.pt", "b/weights/best.pt"]),
        (["best.pt", "b/best.pt"], ["best.pt", "b/best.pt"]),
    ],
)
def test_files_of_the_same_name_are_told_apart_by_their_folders(files, names):
    assert short_names([Path(file) for file in files]) == names


def run_main(words: str, stdout) -> tuple[int, str]:
    """Run `fgd-yolo` with its output into a file; return the exit code and what it wrote to stderr."""
    command = [sys.executable, "-c", "import sys; from fgd_yolo.cli.main import main; sys.exit(main())", *words.split()]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # as in a shell: what is written last fails, when Python ends
    ended = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=buffered)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("words", ["--help", "--version", "distill --help", "recipes"])
def test_a_reader_that_has_gone_ends_a_command_without_a_traceback(words):
    read, write = os.pipe()
    os.close(read)
    ended = run_main(words, write)
    os.close(write)
    assert ended == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", ["--help", "--version", "recipes"])
def test_output_that_cannot_be_written_is_an_error_of_one_line(words):
    with Path("/dev/full").open("w") as full:
        code, error = run_main(words, full)
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1
