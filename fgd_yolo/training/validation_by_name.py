"""The accuracy of a teacher on data with other classes or of another task: Ultralytics' validation of what it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.engine.validator import BaseValidator

from fgd_yolo.class_columns import predict_classes, same_classes
from fgd_yolo.task_table import TASKS, YoloTask
from fgd_yolo.training.other_tasks import shared_task, teacher_validator
from fgd_yolo.ultralytics import load_model, validate


def validate_by_name(
    weights: str | Path,
    names: Mapping[int, str],
    arguments: Mapping[str, Any],
    *,
    student: YoloTask | None = None,
    class_map: Mapping[str, str] | None = None,
    validator: type[BaseValidator] | None = None,
) -> tuple[BaseValidator | None, list[int] | None]:
    """Validate a checkpoint on data, with its classes chosen by name.

    Args:
        weights: checkpoint of a YOLO.
        names: classes of the data.
        arguments: Ultralytics' arguments, with `data`.
        student: the student's task, which is that of the labels; None for the model's own.
        class_map: class of the data by class of the model.
        validator: class to use in place of Ultralytics' own if the tasks are the same.

    Returns:
        The validator after its run, None if nothing of the model can be measured on labels of that task; and the
        classes of the data that the model knows, None for all.
    """
    model, _ = load_model(weights)
    own = TASKS[model.task]
    student = student or own
    if student is not own:
        validator = teacher_validator(student, own)
    measurable = shared_task(student, own) is not None
    if same_classes(model.names, names):
        return (validate(weights, arguments, task=own.name, validator=validator) if measurable else None), None
    known = predict_classes(model, names, class_map)
    # A file is validated with rectangular batches, unless asked otherwise; a model in memory is not.
    arguments = {"rect": True, **arguments}
    run = validate(model, arguments, task=own.name, validator=validator) if measurable else None
    return run, None if len(known) == len(names) else known
