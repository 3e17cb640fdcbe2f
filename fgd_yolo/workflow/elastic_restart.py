"""Elastic restart: a run that torchrun starts again after a failure (`--max-restarts`) goes on where it was.

torchrun repeats the command line of the start, which would begin a second run. So the run folder names the torchrun
that launched it, and a later process of the same torchrun takes the run that was started with the same options.
"""

from __future__ import annotations

import os
from pathlib import Path

from fgd_yolo.config import Recipe
from fgd_yolo.files import atomic_path, process_identity, sha256_of_json
from fgd_yolo.workflow.run_folder import is_run

LAUNCH = "launch.txt"
_BY_TORCHRUN = "TORCHELASTIC_RESTART_COUNT"


def record_launch(run_dir: Path, recipe: Recipe) -> None:
    """Write which torchrun launched a run, and which of its processes; without torchrun, nothing.

    Args:
        run_dir: the run folder.
        recipe: options that the run was started with.
    """
    if _BY_TORCHRUN in os.environ:
        with atomic_path(run_dir / LAUNCH) as path:
            path.write_text(f"{_launch(recipe)}\n{process_identity(os.getpid())}\n", encoding="utf-8")


def interrupted_run(folder: Path, recipe: Recipe) -> Path | None:
    """Return the run that an earlier process of this torchrun has started with the same options, or None.

    The number of restarts in the environment does not tell: when another machine fails, torchrun restarts the processes
    of this one too, and does not count it.

    Args:
        folder: parent of the run folders.
        recipe: options that this process was started with.
    """
    if _BY_TORCHRUN not in os.environ:
        return None
    launch, own = _launch(recipe), process_identity(os.getpid())
    for path in sorted(folder.glob(f"*/{LAUNCH}")):
        recorded = _lines(path)
        # A process may have ended before it wrote anything else.
        if recorded[:1] == [launch] and recorded[1:] != [own] and is_run(path.parent):
            return path.parent
    return None


def _launch(recipe: Recipe) -> str:
    """Return a line for this process's parent, which is torchrun, and the options of the run."""
    return f"{process_identity(os.getppid())} {sha256_of_json(recipe.to_dict())}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return []
