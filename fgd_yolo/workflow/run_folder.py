"""The run folder: how it gets its name, and what is written to it and read back."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.config import Recipe
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.files import atomic_path, numbered_folder
from fgd_yolo.strict_json import to_json

RECIPE = "distill.yaml"
RESULT = "result.json"
STUDENT, ONNX = "student.pt", "student.onnx"
_FOLDERS = ("student", "teacher", "student/weights", "teacher/weights")
_TOLD = {
    **dict.fromkeys(("method", "fingerprint", "split"), str),
    **dict.fromkeys(("seed", "imgsz", "val_images", "cpu_threads"), int),
    **dict.fromkeys(("command", "student", "files"), dict),
}
# A figure that could not be measured is null.
_ROW = {
    "name": str,
    "parameters": int,
    **dict.fromkeys(("map50_95", "map50", "gflops", "cpu_ms"), (int, float, type(None))),
}


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
    with atomic_path(run_dir / RECIPE) as path:
        path.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False), encoding="utf-8")


def is_run(run_dir: Path) -> bool:
    """Return whether a folder is a run's: whether it has the file of options, in whatever state."""
    return (run_dir / RECIPE).exists()


def read_recipe(run_dir: Path) -> Recipe:
    """Read the options of a run back.

    Raises:
        UsageError: the folder holds no run.
        FGDError: the file is damaged.
    """
    path = run_dir / RECIPE
    if not path.exists():
        raise UsageError(f"{path} does not exist: --resume takes the folder of a run, such as runs/distill/yolov8n")
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(options, dict):
            raise ValueError("no options in it")
        recipe = Recipe.from_dict(options)
        for key in ("teacher", "student", "data"):
            if not isinstance(getattr(recipe, key), (str, type(None))):
                raise ValueError(f"{key} is {getattr(recipe, key)!r}")
        for key, value in {**recipe.train, **(recipe.teacher_train or {})}.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{key} is {value}")
    except (OSError, ValueError, TypeError, yaml.YAMLError, UsageError) as error:
        raise FGDError(f"{path} cannot be used ({one_line(error)}): repair it, or start a new run") from error
    return recipe


def check_places(run_dir: Path) -> None:
    """Stop where a folder is in the place of one of a run's files, or a file in that of a folder.

    Raises:
        FGDError: names it.
    """
    wrong = [run_dir / name for name in (RECIPE, RESULT, STUDENT, ONNX) if (run_dir / name).is_dir()]
    if wrong:
        raise FGDError(f"{wrong[0]} is a folder and should be a file: move it away")
    wrong = [run_dir / name for name in _FOLDERS if (run_dir / name).is_file()]
    if wrong:
        raise FGDError(f"{wrong[0]} is a file and should be a folder: move it away")


def save_result(run_dir: Path, result: dict[str, Any]) -> None:
    """Write the closing table as plain numbers."""
    with atomic_path(run_dir / RESULT) as path:
        path.write_text(to_json(result, indent=2) + "\n", encoding="utf-8")


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the closing table of a measured run, or None if there is none that can be read and is whole.

    The files that a run makes are named where its folder is now: it may have been moved or copied.
    """
    try:
        result = json.loads((run_dir / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not _holds(result, _TOLD):
        return None
    teacher = result.get("teacher")
    rows = [result["student"], *([] if teacher is None else [teacher])]
    files = all(isinstance(file, (str, type(None))) for file in result["files"].values())
    command = _holds(result["command"], {"student": str, "data": (str, type(None)), "train": dict})
    if not (files and command and all(_holds(row, _ROW) for row in rows)):
        return None
    here = {"weights": STUDENT, "onnx": ONNX, "training": "student"}
    own = {key: str(run_dir / name) for key, name in here.items() if result["files"].get(key)}
    return {**result, "files": {**result["files"], **own}}


def _holds(values: Any, types: dict[str, type | tuple[type, ...]]) -> bool:
    """Whether it is a mapping in which every key has a value of its type, every number being finite."""
    return isinstance(values, dict) and all(
        isinstance(values.get(key), kind) and (not isinstance(values[key], float) or isfinite(values[key]))
        for key, kind in types.items()
    )
