"""The run folder: how it gets its name, and what is written to it and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.config import Recipe
from fgd_yolo.errors import UsageError
from fgd_yolo.files import numbered_folder, replacing
from fgd_yolo.strict_json import to_json

RECIPE = "distill.yaml"
RESULT = "result.json"
_TOLD = ("method", "fingerprint", "seed", "imgsz", "split", "val_images", "cpu_threads", "command")


def new_run_folder(project: str | Path | None, name: str | None, student: str) -> Path:
    """Make `PROJECT/NAME`, or `NAME-2`, ... where that exists, and return it.

    Args:
        project: folder of runs; None is `runs/distill` under the current one.
        name: of the run; None is the student's.
        student: model name or file.

    Raises:
        FGDError: the folder cannot be made.
    """
    return numbered_folder(Path(project or "runs/distill").absolute() / (name or Path(student).stem))


def save_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Write the resolved options of a run.

    Args:
        run_dir: the run folder.
        recipe: with files as absolute paths and every train argument that is not the host's default.
    """
    with replacing(run_dir / RECIPE) as path:
        path.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False), encoding="utf-8")


def read_recipe(run_dir: Path) -> Recipe:
    """Read the options of a run back.

    Raises:
        UsageError: the folder holds no run.
    """
    path = run_dir / RECIPE
    if not path.is_file():
        raise UsageError(f"{path} does not exist: --resume takes the folder of a run, such as runs/distill/yolov8n")
    return Recipe.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def save_result(run_dir: Path, result: dict[str, Any]) -> None:
    """Write the closing table as plain numbers."""
    with replacing(run_dir / RESULT) as path:
        path.write_text(to_json(result, indent=2) + "\n", encoding="utf-8")


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the closing table of a measured run, or None if there is none that can be read and is whole."""
    try:
        result = json.loads((run_dir / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict) or not all(key in result for key in _TOLD):
        return None
    return result if all(isinstance(result.get(key), dict) for key in ("student", "files")) else None
