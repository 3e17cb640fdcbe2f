"""Which record of the task table a student has, found before Ultralytics has built it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.utils import SETTINGS

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.task_table import RECORDS, TASKS, YoloTask, last_layer, task_of_model, task_of_yaml, why_refused
from fgd_yolo.train_arguments import refuse_unsupported
from fgd_yolo.ultralytics import load_model, read_architecture


def student_record(overrides: Mapping[str, Any]) -> YoloTask:
    """Return the record of the student that Ultralytics' overrides name; a model that cannot be read is a YOLO's.

    Raises:
        UsageError: students cannot be trained for the task.
    """
    refuse_unsupported(overrides)
    name = overrides.get("task") or "detect"
    if name not in TASKS:
        raise UsageError(f"task={name} is not supported: students can be trained for {', '.join(TASKS)}")
    families = [record for record in RECORDS if record.name == name]
    for file in _student_files(overrides) if len(families) > 1 else ():
        record = _record_of_file(file)
        if record is not None:
            return record if record in families else TASKS[name]
    return TASKS[name]


def check_task(model: Mapping[str, Any], task: YoloTask) -> None:
    """Check that a model, given by the content of its YAML, is one for the task of the trainer.

    Raises:
        UsageError: it is not; Ultralytics would train it with the labels and the loss of the other task.
    """
    own = task_of_yaml(model)
    if own is None:
        reason = why_refused(last_layer(model))
        raise UsageError(f"the student is not a YOLO for {', '.join(TASKS)}{reason}; give one for {task.name}")
    if own.name == task.name and own is not task:
        raise UsageError(
            f"the student is a model of {own.family}, the trainer is for {task.family}: name the student in overrides"
        )
    if own is not task:
        raise UsageError(
            f"the student is a model for {own.name}, the trainer is for {task.name}: give task={own.name} in "
            f"overrides, or a student for {task.name}"
        )


def _student_files(overrides: Mapping[str, Any]) -> list[Path]:
    """Return the files that tell a student's architecture: of a resumed run all checkpoints, as one may be damaged."""
    resumed = overrides.get("resume")
    if isinstance(resumed, (str, Path)):
        return [Path(resumed), *sorted(Path(resumed).parent.rglob("*.pt"))]
    model = Path(str(overrides.get("model")))
    return [model] if model.suffix in {".yaml", ".yml"} else [model, Path(SETTINGS["weights_dir"]) / model]


def _record_of_file(file: Path) -> YoloTask | None:
    """Return the record of the model in a checkpoint or a YAML, or None if it cannot be read; its use says why."""
    try:
        if file.suffix in {".yaml", ".yml"}:
            return task_of_yaml(read_architecture(file))
        return task_of_model(load_model(file)[0])
    except (FGDError, FileNotFoundError):
        return None
