"""The structure that `.importlinter` and CONTRIBUTING describe: layers, unique module names, short functions."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "fgd_yolo").rglob("*.py") if path.name != "__init__.py")
PACKAGES = sorted(path.parent for path in (ROOT / "fgd_yolo").rglob("__init__.py"))
OTHER_CODE = sorted(
    path for folder in ("benchmarks", "docs", "examples", "tests") for path in (ROOT / folder).rglob("*.py")
)
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


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_the_docstring_of_a_package_names_its_modules(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    named = {name.removesuffix(".py") for name in re.findall(r"`([\w.]+)/?`", text)}
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert not modules - {"__init__"} - named
    files = {name.removesuffix(".py") for name in re.findall(r"`(\w+\.py)`", text)}
    assert not files - modules


def test_every_package_is_installed():
    """`find:` cannot see them all, so that `setup.cfg` lists them; an editable install works without the list."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = {*setup["options"]["packages"].split()} - {"fgd_yolo.cfg"}
    assert listed == {".".join(folder.relative_to(ROOT).parts) for folder in PACKAGES}


def test_the_page_of_the_architecture_lists_the_layers_of_the_import_linter():
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    layers = linter["importlinter:contract:layers"]["layers"].strip().splitlines()
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = page.partition("## Layers\n")[2].partition("```text\n")[2].partition("```")[0].splitlines()
    assert [line.split("  ")[0].split(" · ") for line in listed] == [layer.split(" | ") for layer in layers]


@pytest.mark.parametrize("path", [*MODULES, *OTHER_CODE], ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    lengths = [(function.name, function.end_lineno - function.lineno + 1) for function in functions]
    assert not [entry for entry in lengths if entry[1] > MAX_FUNCTION_LINES]
