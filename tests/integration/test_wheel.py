from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "copy", ignore=ignored)
    pip(
        "wheel",
        str(folder / "copy"),
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder / "out"),
    )
    (wheel,) = (folder / "out").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel and the libraries, but without the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    # A folder named in a .pth file adds its packages, but not what its own .pth files point to: not the
    # editable install.
    libraries = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    return folder / "venv/bin"


def run(*command):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_recipes_load_from_the_wheel(installed):
    code = """
import fgd_yolo.config as config, fgd_yolo.cfg
print(config.__file__, fgd_yolo.cfg.__file__, *fgd_yolo.cfg.recipe_names(), config.load_recipe("plain").active)
"""
    module, package, *recipes, active = run(installed / "python", "-c", code).split()
    assert Path(module).is_relative_to(installed.parent)
    assert Path(package).is_relative_to(installed.parent)
    assert recipes == sorted(path.stem for path in (ROOT / "cfg").glob("*.yaml"))
    assert active == "False"


def package_files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*.*") if path.is_file() and path.suffix != ".pyc"}


def test_every_module_and_every_file_that_it_reads_is_in_the_wheel(installed):
    home = Path(run(installed / "python", "-c", "import fgd_yolo; print(fgd_yolo.__file__)").strip()).parent
    assert home.is_relative_to(installed.parent)
    packed = {name for name in package_files(home) if Path(name).parts[0] != "cfg"}  # a folder beside in the source
    assert packed == package_files(ROOT / "fgd_yolo")


def test_benchmarks_and_simulators_are_not_in_the_wheel(wheel):
    files = [Path(name) for name in ZipFile(wheel).namelist()]
    assert {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info")} == {"fgd_yolo"}
    outside = {file.name for folder in ("benchmarks", "tests/cameras") for file in (ROOT / folder).glob("*.py")}
    outside -= {"__init__.py"}
    assert outside and not outside & {file.name for file in files}


def test_the_demo_data_comes_from_the_wheel(installed):
    code = "import fgd_yolo.demo, pkgutil, importlib\n" + (
        "for module in pkgutil.iter_modules(fgd_yolo.demo.__path__, 'fgd_yolo.demo.'):\n"
        "    print(importlib.import_module(module.name).__file__)"
    )
    files = run(installed / "python", "-c", code).split()
    assert files
    assert all(Path(file).is_relative_to(installed.parent) for file in files)


def test_the_console_command_shows_its_help(installed):
    assert "distill" in run(installed / "fgd-yolo", "--help")


def test_the_licence_and_the_version_are_in_the_metadata(installed):
    code = "import importlib.metadata as m; print(m.version('fgd_yolo'), m.metadata('fgd_yolo')['License'])"
    import fgd_yolo

    assert run(installed / "python", "-c", code).split() == [fgd_yolo.__version__, "AGPL-3.0-or-later"]


def test_the_page_is_in_the_wheel(installed):
    code = """
import fgd_yolo.streams.web.page as page
print(page.__file__, len(page.read_page("index.html")) > 500, len(page.read_page("page.css")) > 500)
"""
    assert "True True" in run(installed / "python", "-c", code)
