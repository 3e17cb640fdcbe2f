"""How a command is written in a shell, for the messages that suggest one."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fgd_yolo.console.status_lines import display_path

_SCRIPTS = {  # scripts of a checkout, by their command
    "distill": "tools/distill.py",
    "recipes": "tools/recipes.py",
    "compare": "tools/compare.py",
    "disagree": "tools/disagree.py",
    "visualize": "tools/visualize.py",
    "benchmark": "tools/benchmark.py",
    "export": "deploy/export.py",
    "predict": "deploy/predict.py",
    "stream": "deploy/stream.py",
}


def command_name(name: str) -> str:
    """Return the words that start a command in a shell: `fgd-yolo`, or a script if one of this checkout is running.

    Python and `fgd-yolo` are those of the running environment, which may not be on the PATH. A script is named only if
    `fgd-yolo` is not installed from its checkout.

    Args:
        name: a command, such as "distill".
    """
    running, installed = Path(sys.argv[0]), Path(sys.executable).with_name("fgd-yolo")
    is_script = f"{running.parent.name}/{running.name}" in _SCRIPTS.values()
    if is_script and not (installed.is_file() and _is_installed_from(running.absolute().parents[1])):
        return f"{_program(Path(sys.executable))} {shlex.quote(str(running.parent.parent / _SCRIPTS[name]))}"
    on_path = shutil.which("fgd-yolo")
    if not installed.is_file() or (on_path and installed.samefile(on_path)):
        return f"fgd-yolo {name}"
    return f"{_program(installed)} {name}"


def _is_installed_from(checkout: Path) -> bool:
    """Return whether this package is installed from a checkout, in place (PEP 610)."""
    try:
        origin = json.loads(distribution("fgd_yolo").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return False
    editable = origin.get("dir_info", {}).get("editable", False)
    return editable and origin.get("url") == checkout.resolve().as_uri()


def _program(path: Path) -> str:
    """Return a program's path for a shell, which would search the PATH for a name without a folder."""
    text = display_path(path)
    return shlex.quote(text if "/" in text or "\\" in text else f"./{text}")


def resume_command(run_dir: Path) -> str:
    """Return the command line that resumes a distillation, quoted for a shell."""
    return f"{command_name('distill')} --resume {shlex.quote(display_path(run_dir))}"
