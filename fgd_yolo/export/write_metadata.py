"""What an exported file says about itself: all that the host writes, and one entry of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import yaml

from fgd_yolo import __version__
from fgd_yolo.export.request import Request
from fgd_yolo.preprocessing import FLOAT_INPUT, UINT8_INPUT
from fgd_yolo.runtime.model_info import FGD_YOLO_KEY, PREPROCESSING_KEY
from fgd_yolo.strict_json import to_json

if TYPE_CHECKING:
    from fgd_yolo.export.half_range import HalfReport
    from fgd_yolo.export.int8 import Int8Report

_METRICS = {"map50_95": "metrics/mAP50-95(B)", "map50": "metrics/mAP50(B)"}


def read_entries(path: Path) -> dict[str, str]:
    """Return all metadata of an ONNX file."""
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


def write_entries(path: Path, host: Mapping[str, str], ours: Mapping[str, Any]) -> None:
    """Replace a file's metadata: what the host wrote stays as it was, and ours is one entry of JSON."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {**host, FGD_YOLO_KEY: to_json(ours, default=str)})  # a recipe may hold a date
    onnx.save(model, path)


def describe(
    request: Request, weights: Path, checkpoint: Mapping[str, Any], report: Int8Report | HalfReport | None
) -> dict[str, Any]:
    """Return our entry: precision, where the weights come from, how accurate they are, and what to feed.

    Args:
        request: what kind of file this is.
        weights: the checkpoint; a run's result and recipe beside it say what the student was taught with.
        checkpoint: its content.
        report: of the quantization, for int8; of the range, for fp16.
    Returns:
        Plain values. What is not known is absent: `teacher`, `recipe`, `map50_95`, `map50`.
    """
    measured = checkpoint.get("train_metrics") or {}
    return {
        "version": __version__,
        "precision": request.precision,
        **_provenance(weights),
        **{key: measured[name] for key, name in _METRICS.items() if name in measured},
        **(_REPORTED[request.precision](report) if report else {}),
        PREPROCESSING_KEY: (UINT8_INPUT if request.uint8_input else FLOAT_INPUT)._asdict(),
    }


def _quantization(report: Int8Report) -> dict[str, Any]:
    """Return what the int8 file lost and gained; its mAP takes the place of the checkpoint's."""
    refused = {"refused": report.refusal} if not report.accepted else {}
    return {
        **report.map_int8,
        "fp32": dict(report.map_fp32),
        "drop_points": report.drop_points,
        "speed_ratio": report.speed_ratio,
        "calibration": dict(report.calibration),
        "float_nodes": list(report.float_nodes),
        **refused,
    }


def _ranges(report: HalfReport) -> dict[str, Any]:
    return {
        "float_nodes": list(report.float_nodes),
        "range": {"images": report.images, "largest": report.largest if isfinite(report.largest) else None},
    }


_REPORTED = {"int8": _quantization, "fp16": _ranges}


def _provenance(weights: Path) -> dict[str, Any]:
    """Return teacher and recipe from the run folder whose student these weights are; nothing for other weights."""
    try:
        result = json.loads((weights.parent / "result.json").read_text(encoding="utf-8"))
        recipe = yaml.safe_load((weights.parent / "distill.yaml").read_text(encoding="utf-8"))
        if Path(result["files"]["weights"]).name != weights.name:
            return {}
        # Names instead of paths: the file leaves this machine.
        names = {key: Path(recipe[key]).name for key in ("teacher", "student", "data") if recipe.get(key)}
        teacher = {"teacher": Path(names["teacher"]).stem} if "teacher" in names else {}
        kept = {key: recipe[key] for key in ("train", "fgd") if key in recipe}
        if "train" in kept:
            kept["train"] = {key: value for key, value in kept["train"].items() if "/" not in str(value)}
        return {**teacher, "recipe": {"method": result["method"], **names, **kept}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}
