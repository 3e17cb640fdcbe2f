from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fgd_yolo

ROOT = Path(__file__).parents[2]


def test_importing_the_package_imports_neither_torch_nor_ultralytics():
    code = "import sys, fgd_yolo; print(sorted({'torch', 'ultralytics'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", fgd_yolo.__all__)
def test_every_public_name_resolves(name):
    assert getattr(fgd_yolo, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="FGDLos"):
        _ = fgd_yolo.FGDLos


def test_the_package_imports_nothing_from_the_benchmarks_and_the_tests():
    outside = re.compile(r"^\s*(from|import) (benchmarks|tests)\b", re.MULTILINE)
    modules = list((ROOT / "fgd_yolo").rglob("*.py"))
    assert modules and not [path for path in modules if outside.search(path.read_text())]


def test_setup_lists_every_package_folder_and_no_other():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {path.parent for path in (ROOT / "fgd_yolo").rglob("*.py")}
    present = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert listed == present | {"fgd_yolo.cfg"}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_type_checkers_see_every_public_name_at_the_place_it_is_imported_from():
    block = next(node for node in ast.parse(Path(fgd_yolo.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == fgd_yolo._HOME
    assert {*seen, "__version__"} == set(fgd_yolo.__all__)
