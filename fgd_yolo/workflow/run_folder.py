"""The run folder: its name, its files, and the inputs that a run was started with.

distill.yaml   resolved options
plain.yaml     recipe of the same training without distillation
inputs.json    SHA-256 of models and data set, checked whenever the run uses them again
result.json    closing table
launch.txt     the torchrun that launched the run, if one did
data/          data YAML as given to Ultralytics
teacher/       Ultralytics' run folder of the teacher's fine-tuning, if there was one; teacher-2/ of the second's
student/       Ultralytics' run folder of the student
student.pt, student.onnx
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fgd_yolo.config import Recipe
from fgd_yolo.console import display_path, print_status
from fgd_yolo.datasets import Dataset
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.files import atomic_path, numbered_folder, sha256_of_file
from fgd_yolo.strict_json import to_json
from fgd_yolo.task_table import Accuracy
from fgd_yolo.text import shortened

RUNS_FOLDER = "runs/distill"
RECIPE = "distill.yaml"
PLAIN_RECIPE = "plain.yaml"
INPUTS = "inputs.json"
RESULT = "result.json"
STUDENT_PT, STUDENT_ONNX = "student.pt", "student.onnx"
STUDENT_STAGE, TEACHER_STAGE = "student", "teacher"
STUDENT, DATA, FRAMES = "student", "data", "unlabelled frames"
"""Names of a run's inputs, beside those of `teacher_input` and `checkpoint_input`."""
_INPUT_CHARACTERS = 90  # of each of the two descriptions in a message
_RESULT_TYPES = {
    **dict.fromkeys(("task", "method", "fingerprint", "split", "images"), str),
    **dict.fromkeys(("seed", "epochs", "nbs", "imgsz", "train_images", "val_images", "cpu_threads"), int),
    **dict.fromkeys(("student", "files"), dict),
    "teachers": list,
    **dict.fromkeys(("batches", "optimizer_steps"), (int, type(None))),
    "batch": (int, float),
    "data": (str, type(None)),
    "unlabeled_images": (int, type(None)),
    "agreement": (dict, type(None)),
    "labelled_by": (dict, type(None)),
}
_ROW_TYPES = {
    "name": str,
    "parameters": int,
    **dict.fromkeys((*Accuracy._fields, "gflops", "cpu_ms"), (int, float, type(None))),  # None: not measured
}


class Input(NamedTuple):
    """A model or data set that a run depends on.

    Args:
        digest: SHA-256 of the content, independent of the path.
        description: path or summary, for messages.
    """

    digest: str
    description: str


def new_run_folder(project: str | Path | None, name: str | None, student: str) -> Path:
    """Create and return `PROJECT/NAME`, or `NAME-2`, ... if it exists.

    Args:
        project: parent folder; None is `runs/distill` in the current folder.
        name: name of the run; None is the student's name.
        student: model name or file.

    Raises:
        FGDError: the folder cannot be created.
    """
    return numbered_folder(Path(project or RUNS_FOLDER).absolute() / (name or Path(student).stem))


def teacher_stage(place: int) -> str:
    """Return the folder of a teacher's fine-tuning by its place in the list of teachers, from 1."""
    return TEACHER_STAGE if place == 1 else f"{TEACHER_STAGE}-{place}"


def teacher_input(place: int) -> str:
    """Return the name of the input that is a teacher, by its place in the list of teachers, from 1."""
    return "teacher" if place == 1 else f"teacher {place}"


def checkpoint_input(place: int) -> str:
    """Return the name of the input that is the file distilled from: a teacher, fine-tuned if necessary."""
    return f"{teacher_input(place)}'s checkpoint"


def is_run(run_dir: Path) -> bool:
    """Return whether a folder contains the options file of a run, which may be damaged."""
    return (run_dir / RECIPE).exists()


def check_places(run_dir: Path) -> None:
    """Check that no file of a run is a folder, and no folder a file.

    Raises:
        FGDError: one is; the message names it.
    """
    folders = [run_dir / name for name in (RECIPE, RESULT, STUDENT_PT, STUDENT_ONNX) if (run_dir / name).is_dir()]
    if folders:
        raise FGDError(f"{folders[0]} is a folder and should be a file: move it away")
    stages = [run_dir / STUDENT_STAGE, run_dir / TEACHER_STAGE, *run_dir.glob(f"{TEACHER_STAGE}-*")]
    files = [place for stage in stages for place in (stage, stage / "weights") if place.is_file()]
    if files:
        raise FGDError(f"{files[0]} is a file and should be a folder: move it away")


def save_recipe(run_dir: Path, recipe: Recipe, name: str = RECIPE) -> None:
    """Write the resolved options of a run.

    Args:
        run_dir: the run folder.
        recipe: resolved recipe, with absolute paths and all train arguments that differ from Ultralytics' defaults.
        name: name of the file.
    """
    with atomic_path(run_dir / name) as path:
        path.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False), encoding="utf-8")


def read_recipe(run_dir: Path) -> Recipe:
    """Read the options of a run.

    Raises:
        UsageError: the folder is not that of a run.
        FGDError: the file is damaged.
    """
    path = run_dir / RECIPE
    if not path.exists():
        raise UsageError(f"{path} does not exist: --resume needs a run folder, such as {RUNS_FOLDER}/yolov8n")
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(options, dict):
            raise ValueError("it has no options")
        recipe = Recipe.from_dict(options)
        for key, value in {**recipe.train, **(recipe.teacher_train or {})}.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{key} is {value}")
    except (OSError, ValueError, TypeError, yaml.YAMLError, UsageError) as error:
        raise FGDError(f"{path} cannot be used ({one_line(error)}): repair it, or start a new run") from error
    return recipe


def save_result(run_dir: Path, result: dict[str, Any]) -> None:
    """Write the values of the closing table."""
    with atomic_path(run_dir / RESULT) as path:
        path.write_text(to_json(result, indent=2) + "\n", encoding="utf-8")


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the values of a run's closing table, or None if the file is missing, damaged or incomplete.

    Paths inside the run folder refer to its present place, since it may have been moved or copied.
    """
    try:
        result = json.loads((run_dir / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not _has_types(result, _RESULT_TYPES):
        return None
    rows = (result["student"], *result["teachers"])
    if not (_are_files(result["files"]) and all(_has_types(row, _ROW_TYPES) for row in rows)):
        return None
    names = {"weights": STUDENT_PT, "onnx": STUDENT_ONNX, "training": STUDENT_STAGE}
    present = {key: str(run_dir / name) for key, name in names.items() if result["files"].get(key)}
    return {**result, "files": {**result["files"], **present}}


def _are_files(files: Mapping[str, Any]) -> bool:
    """Return whether the values of `files` are a list of paths for the teachers, and a path or None for the others."""
    teachers = files.get("teachers")
    others = [file for name, file in files.items() if name != "teachers"]
    return (
        isinstance(teachers, list)
        and all(isinstance(file, str) for file in teachers)
        and all(isinstance(file, (str, type(None))) for file in others)
    )


def _has_types(values: Any, types: Mapping[str, type | tuple[type, ...]]) -> bool:
    """Return whether a value is a mapping with a value of the right type for each key; numbers must be finite."""
    return isinstance(values, dict) and all(
        isinstance(values.get(key), kind) and (not isinstance(values.get(key), float) or isfinite(values[key]))
        for key, kind in types.items()
    )


def file_input(path: Path) -> Input:
    """Return a file as an input of a run.

    Raises:
        FGDError: the file cannot be read.
    """
    try:
        return Input(sha256_of_file(path), str(path))
    except OSError as error:
        raise FGDError(f"{path} cannot be read ({error.strerror}): put it back, or start a new run") from error


def checkpoint_inputs(checkpoints: Sequence[str | Path], present: bool = False) -> dict[str, Input]:
    """Return the teachers' checkpoints, or those that are present, as inputs of a run."""
    files = {checkpoint_input(place): Path(file) for place, file in enumerate(checkpoints, start=1)}
    return {name: file_input(file) for name, file in files.items() if not present or file.is_file()}


def data_input(dataset: Dataset) -> Input:
    """Return a scanned data set as an input of a run."""
    counts = f"{dataset.scan.train_images} train and {dataset.scan.val_images} val images"
    return Input(dataset.scan.digest, f"{dataset.source.name}, {counts}, {len(dataset.names)} classes")


def read_inputs(run_dir: Path) -> dict[str, Input] | None:
    """Return the inputs recorded so far, or None if the file is missing or damaged."""
    try:
        entries = json.loads((run_dir / INPUTS).read_text(encoding="utf-8"))
        inputs = {name: Input(**entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return inputs if all(isinstance(value, str) for entry in inputs.values() for value in entry) else None


def record_inputs(run_dir: Path, inputs: Mapping[str, Input]) -> None:
    """Write the inputs of a run."""
    with atomic_path(run_dir / INPUTS) as path:
        path.write_text(json.dumps({name: entry._asdict() for name, entry in inputs.items()}, indent=2) + "\n")


def check_inputs(run_dir: Path, current: Mapping[str, Input]) -> None:
    """Check that models and data are those that a run was started with, and record new ones.

    Args:
        run_dir: the run folder.
        current: present inputs.

    Raises:
        FGDError: an input has changed.
    """
    recorded = read_inputs(run_dir)
    if recorded is None:
        file = display_path(run_dir / INPUTS)
        print_status(f"!! {file} is missing or damaged: cannot check that models and data are unchanged")
        recorded = {}
    changed = input_differences(recorded, current)
    if changed:
        run = display_path(run_dir)
        raise FGDError(f"{run} was started with {changed}: put back the originals, or start a new run")
    if current.keys() - recorded.keys():
        record_inputs(run_dir, {**recorded, **current})


def input_differences(recorded: Mapping[str, Input], current: Mapping[str, Input]) -> str:
    """Describe the recorded inputs that have changed; an empty string if none has."""
    changed = [name for name, entry in current.items() if name in recorded and recorded[name].digest != entry.digest]
    return " and ".join(_difference(name, recorded[name], current[name]) for name in changed)


def _difference(name: str, then: Input, now: Input) -> str:
    other = f"other {name}" if name in (DATA, FRAMES) else f"another {name}"
    before, after = (shortened(entry.description, _INPUT_CHARACTERS) for entry in (then, now))
    if then.description == now.description:
        return f"{other} (the content of {after} has changed)"
    return f"{other} (then {before}; now {after})"
