"""The metadata of an exported file: Ultralytics' entries, and one entry of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import yaml

from fgd_yolo import __version__
from fgd_yolo.config import FGDConfig, model_names
from fgd_yolo.datasets import AGREEMENT_YAML, moved_dataset, read_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.export.precisions import ConversionReport
from fgd_yolo.preprocessing import FLOAT_INPUT, UINT8_INPUT
from fgd_yolo.runtime.model_info import FGD_YOLO_KEY, PREPROCESSING_KEY
from fgd_yolo.strict_json import to_json
from fgd_yolo.task_table import TASKS, YoloTask, recorded_accuracy

AGREEMENT_KEY = "agreement"
"""Key of what was measured against float32's own detections, where no accuracy was."""
TEACHER_KEY = "agreement_with_teacher"
"""Key of what a training without labels has measured, against the objects of its teacher."""


def read_metadata(path: Path) -> dict[str, str]:
    """Return all metadata of an ONNX file."""
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


def write_metadata(path: Path, ultralytics: Mapping[str, str], fgd_yolo: Mapping[str, Any]) -> None:
    """Replace a file's metadata with Ultralytics' entries, unchanged, and one JSON entry of this package."""
    model = onnx.load(path)
    entry = to_json(fgd_yolo, default=str)  # a recipe may hold a date
    onnx.helper.set_model_props(model, {**ultralytics, FGD_YOLO_KEY: entry})
    onnx.save(model, path)


def describe(
    options: ExportOptions,
    weights: Path,
    checkpoint: Mapping[str, Any],
    report: ConversionReport | None,
    channels: int = 3,
    task: str = "detect",
    stretched: bool = False,
) -> dict[str, Any]:
    """Return this package's entry: precision, provenance of the weights, accuracy and input format.

    Args:
        options: options of the export.
        weights: path of the checkpoint. `result.json` and `distill.yaml` beside it give its teacher and recipe.
        checkpoint: its content.
        report: report of the conversion to a lower precision.
        channels: number of channels that the model takes.
        task: task of the model.
        stretched: whether it takes stretched images.
    Returns:
        Plain values. `teacher`, `recipe` and the fields of `Accuracy` are omitted if unknown.
    """
    reported = report.metadata() if report else {}
    # If an int8 file was only compared with float32, the checkpoint's accuracy is not the file's, which is unknown.
    measured = {} if AGREEMENT_KEY in reported else _measured(weights, checkpoint, TASKS[task])
    input_format = UINT8_INPUT if options.uint8_input else FLOAT_INPUT
    return {
        "version": __version__,
        "precision": options.precision,
        **_provenance(weights),
        **measured,
        **reported,
        PREPROCESSING_KEY: input_format.of_channels(channels).of_fit(stretched)._asdict(),
    }


def _measured(weights: Path, checkpoint: Mapping[str, Any], task: YoloTask) -> dict[str, Any]:
    """Return the accuracy that the training measured, or its agreement with the teacher if it had no other labels."""
    measured = recorded_accuracy(checkpoint.get("train_metrics") or {}, task)
    if measured is None:
        return {}
    data = (checkpoint.get("train_args") or {}).get("data")
    try:
        result = _result_beside(weights)
        if "labelled_by" in result:
            labelled_by = result["labelled_by"]
        else:
            labelled_by = read_dataset(moved_dataset(data, weights), recorded=True).labelled_by
    except FGDError:  # the data is no longer there; by its name it had no labels but the teacher's
        if Path(str(data)).name == AGREEMENT_YAML:
            return {}
        labelled_by = None
    return measured._asdict() if labelled_by is None else {TEACHER_KEY: {**measured._asdict(), **labelled_by}}


def _result_beside(weights: Path) -> dict[str, Any]:
    """Return the `result.json` of the run whose student these weights are; empty for other weights."""
    try:
        result = json.loads((weights.parent / "result.json").read_text(encoding="utf-8"))
        return result if Path(result["files"]["weights"]).name == weights.name else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _provenance(weights: Path) -> dict[str, Any]:
    """Return teacher and recipe from the run folder whose student these weights are; nothing for other weights."""
    try:
        result = _result_beside(weights)
        if not result:
            return {}
        recipe = yaml.safe_load((weights.parent / "distill.yaml").read_text(encoding="utf-8"))
        # Names instead of paths: the file may leave this machine.
        names = {key: Path(recipe[key]).name for key in ("student", "data") if recipe.get(key)}
        teachers = [Path(teacher) for teacher in model_names(recipe.get("teacher"))]
        if teachers:
            names = {"teacher": ",".join(file.name for file in teachers), **names}
        teacher = {"teacher": ",".join(file.stem for file in teachers)} if teachers else {}
        options = {key: recipe[key] for key in ("train", *FGDConfig.model_fields) if key in recipe}
        if "train" in options:
            options["train"] = {key: value for key, value in options["train"].items() if "/" not in str(value)}
        return {**teacher, "recipe": {"method": result["method"], **names, **options}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}
