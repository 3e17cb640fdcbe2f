"""The accuracy of a teacher on data with other classes or of another task: Ultralytics' validation of what it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.engine.validator import BaseValidator

from fgd_yolo.class_columns import predict_classes, same_classes
from fgd_yolo.training.teachers.other_tasks import Labels, shared_task, teacher_validator
from fgd_yolo.ultralytics import load_model, validate


def validate_by_name(
    weights: str | Path,
    names: Mapping[int, str],
    arguments: Mapping[str, Any],
    *,
    labels: Labels | None = None,
    class_map: Mapping[str, str] | None = None,
    validator: type[BaseValidator] | None = None,
) -> tuple[BaseValidator | None, list[int] | None]:
    """Validate a checkpoint on data, with its classes chosen by name.

    Args:
        weights: checkpoint of a YOLO.
        names: classes of the data.
        arguments: Ultralytics' arguments, with `data`.
        labels: labels of the data, for a model that may be of another task; None for those of the model's task.
        class_map: class of the data by class of the model.
        validator: class to use in place of Ultralytics' own for a model of the task of the labels.

    Returns:
        The validator after its run, None if nothing of the model can be measured on the labels; and the classes of the
        data that the model knows, None for all.
    """
    model, _ = load_model(weights)
    own = Labels.of_model(model)
    labels = labels or own
    task = shared_task(labels, model)
    if labels != own:
        validator = teacher_validator(labels, model)
    if same_classes(model.names, names):
        return (None if task is None else validate(weights, arguments, task=model.task, validator=validator)), None
    known = predict_classes(model, names, class_map)
    # A file is validated with rectangular batches, unless asked otherwise; a model in memory is not.
    arguments = {"rect": True, **arguments}
    run = None if task is None else validate(model, arguments, task=model.task, validator=validator)
    return run, None if len(known) == len(names) else known
