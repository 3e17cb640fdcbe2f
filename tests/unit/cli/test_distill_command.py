from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo import __version__
from fgd_yolo.cli import distill_command
from fgd_yolo.cli.distill_command import parse_distill
from fgd_yolo.cli.main import COMMANDS, main
from fgd_yolo.config import Recipe
from fgd_yolo.console import guarded
from fgd_yolo.errors import FGDError, UsageError
from shell import loaded_by

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["imgz=3"], ["--imgsz", "3", "imgsz=4"]])
def test_help_and_usage_errors_do_not_import_torch(words):
    assert loaded_by(["distill", *words], {"torch", "ultralytics", "numpy", "pydantic"}) == "[]"


def test_help_lists_every_option_and_runs_from_the_script():
    script = [sys.executable, str(ROOT / "tools/distill.py"), "--help"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    options = "teacher student data epochs imgsz batch device teacher-epochs recipe resume allow-download debug version"
    for option in options.split():
        assert f"--{option}" in text
    assert "key=value" in text and "examples:" in text


def test_downloads_are_allowed_on_the_command_line_alone():
    assert parse_distill(["--student", "s.yaml", "--allow-download"]) == {"student": "s.yaml", "allow_download": True}
    assert parse_distill(["--student", "s.yaml"]) == {"student": "s.yaml"}
    with pytest.raises(UsageError, match="unknown train argument 'allow_download'"):
        parse_distill(["allow_download=True"])
    with pytest.raises(UsageError, match="allow_download"):
        Recipe.from_dict({"allow_download": True})


def test_train_arguments_may_be_anywhere_on_the_command_line():
    words = "lr0=1e-3 --teacher t.pt imgsz=320 --student s.yaml --epochs 3 cos_lr=True --data d.yaml freeze=[0,1]"
    assert parse_distill(words.split()) == {
        "teacher": "t.pt",
        "student": "s.yaml",
        "data": "d.yaml",
        "epochs": 3,
        "imgsz": 320,
        "lr0": 0.001,
        "cos_lr": True,
        "freeze": [0, 1],
    }


def test_values_of_options_are_read_like_those_of_assignments():
    read = parse_distill(["--batch", "-1", "--device", "cpu", "--teacher-epochs", "0", "--imgsz=64"])
    assert read == {"batch": -1, "device": "cpu", "teacher_epochs": 0, "imgsz": 64}
    assert parse_distill(["data=d.yaml"]) == {"data": "d.yaml"}


@pytest.mark.parametrize(
    "words",
    [
        "--imgsz 320 imgsz=640",
        "imgsz=1 imgsz=2",
        "--imgsz 320 --imgsz 320",
        "--data a.yaml data=a.yaml",
        "--teacher a --teacher=b",
        "--device cpu device=cpu",
    ],
)
def test_an_option_given_more_than_once_is_refused(words):
    with pytest.raises(UsageError, match="more than once"):
        parse_distill(words.split())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--studnet x", "did you mean '--student'"),
        ("--teacher", "expected one argument"),
        ("yolov8n", "neither an option nor a train argument"),
        ("imgz=3", "did you mean 'imgsz'"),
        ("teacher=x", "write --teacher x"),
        ("--teach x", "unknown option '--teach'"),
    ],
)
def test_an_invalid_word_is_named(words, part):
    with pytest.raises(UsageError, match=part):
        parse_distill(words.split())


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FGDError("no\n  way"), 1, "error: no way"),
        (UsageError("what?"), 2, "error: what?"),
        (KeyboardInterrupt("stopped; resume with: x"), 1, "stopped; resume with: x"),
        (KeyboardInterrupt(), 1, "stopped before anything was written"),
        (ValueError("two\nlines"), 1, "error: ValueError: two lines (--debug shows where)"),
        (ModuleNotFoundError("No", name="torch"), 1, "error: this needs torch: pip install 'fgd_yolo[train]'"),
        (ModuleNotFoundError("No x", name="x"), 1, "error: ModuleNotFoundError: No x (--debug shows where)"),
    ],
)
def test_every_error_is_one_line_and_an_exit_code(capsys, error, code, line):
    def fail():
        raise error

    assert guarded(fail) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_the_program_calls_its_commands(capsys, monkeypatch):
    called = []
    monkeypatch.setattr(distill_command, "main", lambda words, prog: called.append((words, prog)) or 0)
    assert main(["distill", "a=1"]) == 0
    assert called == [(["a=1"], "fgd-yolo distill")]
    assert main(["--version"]) == 0 and __version__ in capsys.readouterr().out
    assert main(["distil"]) == 2
    assert "did you mean 'distill'" in capsys.readouterr().err
    assert main([]) == 2


@pytest.mark.parametrize("words", ["export", "predict", "visualize", "benchmark", "benchmark inference"])
def test_every_command_gets_its_arguments_and_its_name(capsys, words):
    with pytest.raises(SystemExit) as stop:
        main([*words.split(), "--help"])
    assert stop.value.code == 0
    assert f"\nusage: fgd-yolo {words} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("export --model a.pt --imgsz 320 --imgsz 640", "error: --imgsz given more than once"),
        ("export --model a.pt --imgsz 320 --imgsz 320", "error: --imgsz given more than once"),
        ("benchmark inference --rounds 10 --rounds 3", "error: --rounds given more than once"),
        ("benchmark inference --rounds few", "error: argument --rounds: must be an integer of at least 1, got 'few'"),
        ("benchmark inference --threads 0", "error: argument --threads: must be an integer of at least 1, got '0'"),
        ("predict --model a.onnx --source a --conf 2", "error: "),
        ("distill --student a --student a", "error: --student given more than once"),
    ],
)
def test_every_command_refuses_an_invalid_argument_in_one_line(capsys, words, line):
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(line) and printed.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        FGDError("data x.yaml cannot be used: " + ", ".join(f"{i}.jpg" for i in range(40_000)) + "; add them"),
        UsageError(f"data x.yaml cannot be used: '/{'long/' * 800}x.yaml' does not exist; add them"),
        RuntimeError("data x.yaml cannot be used: \x1b[31m\n\x1b[2Jtwo\r\n\u202elines\x9b" + "\0" * 999 + "; add them"),
        OSError("data x.yaml cannot be used: \ud800 \u200b; add them"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_of_any_text_is_one_short_printable_line_with_its_beginning_and_its_advice(capsys, error, debug):
    def fail():
        raise error

    assert guarded(fail, debug=debug) in (1, 2)
    lines = capsys.readouterr().err.split("\n")
    assert lines.pop() == "" and all(line.isprintable() for line in lines)
    assert debug or len(lines) == 1
    assert len(lines[-1]) <= 300 and "data x.yaml cannot be used" in lines[-1] and "add them" in lines[-1]


def test_the_help_of_the_program_lists_every_command(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = lines[lines.index("commands:") + 1 : lines.index("options:") - 1]
    assert [line.split()[0] for line in listed] == [*COMMANDS]


def test_an_unknown_command_is_one_short_line(capsys):
    assert main(["x\x1b[2J" * 5000]) == 2
    line = capsys.readouterr().err
    assert len(line) <= 301 and line[:-1].isprintable() and "--help" in line
