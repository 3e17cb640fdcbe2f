"""Elastic restart: a run that torchrun starts again after a failure (`--max-restarts`) goes on where it was.

torchrun repeats the command line of the start, which would begin a second run. So the run folder names the torchrun
that launched it, and a restarted rank 0 takes the folder that its own torchrun has launched with the same options.
"""

from __future__ import annotations

import os
from pathlib import Path

from fgd_yolo.config import Recipe
from fgd_yolo.files import atomic_path, process_identity, sha256_of_json
from fgd_yolo.workflow.run_folder import is_run

LAUNCH = "launch.txt"
_RESTARTS = "TORCHELASTIC_RESTART_COUNT"


def record_launch(run_dir: Path, recipe: Recipe) -> None:
    """Write which torchrun launched a run; without torchrun, nothing.

    Args:
        run_dir: the run folder.
        recipe: options that the run was started with.
    """
    if _RESTARTS in os.environ:
        with atomic_path(run_dir / LAUNCH) as path:
            path.write_text(_launch(recipe), encoding="utf-8")


def interrupted_run(folder: Path, recipe: Recipe) -> Path | None:
    """Return the run that this torchrun launched with the same options before it restarted its processes, or None.

    Args:
        folder: parent of the run folders.
        recipe: options that this process was started with.
    """
    if int(os.environ.get(_RESTARTS, "0")) == 0:
        return None
    launch = _launch(recipe)
    runs = (path.parent for path in sorted(folder.glob(f"*/{LAUNCH}")) if _text(path) == launch)
    return next(filter(is_run, runs), None)  # a process may have ended before it wrote anything else


def _launch(recipe: Recipe) -> str:
    """Return a line for this process's parent, which is torchrun, and the options of the run."""
    return f"{process_identity(os.getppid())} {sha256_of_json(recipe.to_dict())}\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return ""
