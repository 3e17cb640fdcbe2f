"""The structure that `.importlinter` and CONTRIBUTING describe: layers, unique module names, short functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "fgd_yolo").rglob("*.py") if path.name != "__init__.py")
MAX_FUNCTION_LINES = 60


def test_imports_run_one_way_and_the_camera_box_needs_no_torch():
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run([sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_no_two_modules_share_a_name():
    shared = {name for name, count in Counter(path.stem for path in MODULES).items() if count > 1}
    assert not shared


def test_no_module_is_the_plural_of_another():
    names = {path.stem for path in MODULES}
    assert not {name for name in names if f"{name}s" in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path):
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    lengths = {function.name: function.end_lineno - function.lineno + 1 for function in functions}
    assert not {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}
