"""Completions as a shell asks for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
COMPLETED = {
    "fgd-yolo di": ["distill", "disagree"],
    "fgd-yolo dist": ["distill "],
    "fgd-yolo ": ["--help", "--version", *COMMANDS],
    "fgd-yolo recipes plai": ["plain "],
    "fgd-yolo distill te": ["teacher=", "teacher_classes=", "teacher_epochs=", "teacher_imgsz=", "teacher_precision="],
    "fgd-yolo distill teacher=a --teacher-e": ["--teacher-epochs "],
    "fgd-yolo distill lr": ["lr0=", "lrf="],
    "fgd-yolo distill heads.r": ["heads.ratio="],
    "fgd-yolo distill --features.fg": ["--features.fg_weight "],
    "fgd-yolo distill recipe=paper-y": ["recipe=paper-yolo", "recipe=paper-yolox"],
    "fgd-yolo distill student=s.pt --recipe pl": ["plain "],
    "fgd-yolo distill method=cw": ["method=cwd "],
    "fgd-yolo distill cos_lr=T": ["cos_lr=True "],
    "fgd-yolo distill teacher=be": ["teacher=best.pt "],
    "fgd-yolo distill --teacher be": ["best.pt "],
    "fgd-yolo distill --teacher te": [""],
    "fgd-yolo compare methods=plain,fitn": ["methods=plain,fitnet "],
    "fgd-yolo compare --methods plain ult": ["ultralytics "],
    "fgd-yolo export --precision i": ["int8 "],
    "fgd-yolo export --model be": ["best.pt "],
    "fgd-yolo benchmark inference --ro": ["--rounds "],
}
PROGRAM = """
import json, os, sys
from fgd_yolo.cli.main import main
for line in json.loads(sys.argv[1]):
    os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1"}
    try:
        main()
    except SystemExit:
        os.rename("answer", f"answers/{line}")
sys.exit("torch" in sys.modules)
"""


def ask(program: list[str], line: str = "", words_before: int = 1) -> None:
    """Run a program with a line to complete at its end, by the protocol of argcomplete; it writes the file `answer`."""
    question = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE": str(words_before)}
    settings = {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": "answer"}
    environment = {**os.environ, **question, **settings, "_ARGCOMPLETE_COMP_WORDBREAKS": " \"'><;|&("}
    subprocess.run([sys.executable, *program], env=environment, check=True, capture_output=True)


def test_commands_options_values_and_files_are_completed_without_torch():
    Path("best.pt").touch()
    Path("answers").mkdir()
    ask(["-c", PROGRAM, json.dumps([*COMPLETED])])
    assert {line: Path("answers", line).read_text().split("\n") for line in COMPLETED} == COMPLETED


def test_a_script_is_completed_like_its_command():
    script = ROOT / "tools/distill.py"
    assert script.read_text().startswith("# PYTHON_ARGCOMPLETE_OK")
    ask([str(script)], f"python {script} --method fitn", words_before=2)
    assert Path("answer").read_text() == "fitnet "


def test_bash_completes_the_installed_program():
    folder = Path(sys.executable).parent
    register = shutil.which("register-python-argcomplete", path=f"{folder}:{os.environ['PATH']}")
    if register is None or not (folder / "fgd-yolo").is_file():
        pytest.skip("the package is not installed with its programs")
    script = f"""
        export PATH={folder}:$PATH
        eval "$({sys.executable} {register} fgd-yolo)"
        COMP_WORDS=(fgd-yolo distill te); COMP_CWORD=2; COMP_LINE="fgd-yolo distill te"; COMP_POINT=${{#COMP_LINE}}
        COMP_TYPE=9; _python_argcomplete fgd-yolo; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "teacher=",
        "teacher_classes=",
        "teacher_epochs=",
        "teacher_imgsz=",
        "teacher_precision=",
    ]
