"""After the training: teacher and student measured side by side, and the student's ONNX file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import get_flops, strip_optimizer

from fgd_yolo.datasets import Dataset
from fgd_yolo.files import atomic_path
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.timing import best_time
from fgd_yolo.ultralytics import load_detector, validate
from fgd_yolo.workflow.closing_table import Row
from fgd_yolo.workflow.train_arguments import validation_arguments

_WARM_UPS, _RUNS = 2, 8


@safe_loading()
def publish_student(best: Path, student: Path) -> None:
    """Copy the best checkpoint to the run's top folder; one that still carries its optimizer loses it."""
    _, checkpoint = load_detector(best)
    with atomic_path(student) as path:
        if checkpoint.get("optimizer") is None:
            shutil.copyfile(best, path)
        else:
            strip_optimizer(best, s=str(path))


@safe_loading()
def measure(name: str, weights: Path, dataset: Dataset, train: Mapping[str, Any]) -> Row:
    """Return a model's row of the table: accuracy on the reported split, size, and speed on one CPU.

    Args:
        name: of the row.
        weights: checkpoint, already known to be a detector.
        dataset: what it is measured on.
        train: the run's train arguments; the same for teacher and student, so that the rows compare.
    """
    arguments = validation_arguments(train)
    box = validate(weights, {"data": str(dataset.file), **arguments}).metrics.box
    parameters, gflops, cpu_ms = _cost(weights, int(arguments["imgsz"]), dataset.channels)
    return Row(name, float(box.map), float(box.map50), parameters, gflops, cpu_ms)


def _cost(weights: Path, size: int, channels: int) -> tuple[int, float | None, float]:
    """Parameters, GFLOPs and the fastest of some passes of one image, in ms, fused, on the CPU."""
    model, _ = load_detector(weights)
    model = model.fuse(verbose=False)
    size = check_imgsz(size, stride=model.stride, floor=32, max_dim=1)  # as the host's own validation
    image = torch.zeros(1, channels, size, size)
    with torch.inference_mode():
        seconds = best_time(lambda: model(image), _RUNS, _WARM_UPS)
    parameters = sum(weight.numel() for weight in model.parameters())
    return parameters, float(get_flops(model, size)) or None, seconds * 1e3
