"""The accuracy of a teacher on data with other classes: Ultralytics' validation of the classes that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.engine.validator import BaseValidator

from fgd_yolo.class_columns import predict_classes, same_classes
from fgd_yolo.ultralytics import load_model, validate


def validate_by_name(
    weights: str | Path,
    names: Mapping[int, str],
    arguments: Mapping[str, Any],
    *,
    class_map: Mapping[str, str] | None = None,
    validator: type[BaseValidator] | None = None,
) -> tuple[BaseValidator, list[int] | None]:
    """Validate a checkpoint on data, with its classes chosen by name.

    Args:
        weights: checkpoint of a YOLO.
        names: classes of the data.
        arguments: Ultralytics' arguments, with `data`.
        class_map: class of the data by class of the model.
        validator: class to use in place of Ultralytics' own for the task.

    Returns:
        The validator after its run, and the classes of the data that the model knows, None for all.
    """
    model, _ = load_model(weights)
    if same_classes(model.names, names):
        return validate(weights, arguments, task=model.task, validator=validator), None
    known = predict_classes(model, names, class_map)
    # A file is validated with rectangular batches, unless asked otherwise; a model in memory is not.
    run = validate(model, {"rect": True, **arguments}, task=model.task, validator=validator)
    return run, None if len(known) == len(names) else known
