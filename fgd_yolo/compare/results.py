"""The files of a comparison: `runs.csv`, one row per finished run; `curves/`, their learning curves; `compare.json`.

All are written atomically.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from fgd_yolo.compare.options import folder_name
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path
from fgd_yolo.strict_json import to_json
from fgd_yolo.task_table import TASKS, YoloTask
from fgd_yolo.text import printable

RUNS, CURVES, CONTEXT = "runs.csv", "curves", "compare.json"
SIZES = ("small", "medium", "large")
"""COCO's object sizes: up to 32 x 32 pixels of the original image, up to 96 x 96, and above."""
MAP50_95 = "metrics/mAP50-95(B)"
"""Column of a learning curve, written by Ultralytics: accuracy of the boxes."""
TASK_MAP50_95 = "mAP50-95"
"""Column of a learning curve: accuracy of what the task predicts."""
_MAP50_95_OF_TASKS = (
    *(f"metrics/mAP50-95({task.letter})" for task in TASKS.values() if task.metric != "box"),
    MAP50_95,
)
GRADIENT_RATIO = "gradient_ratio"
"""Column of a learning curve: sum of the gradient ratios that FGDTrainer writes for features and heads."""
_TASK_OF_MEASURED = {task.measured: task for task in TASKS.values()}
_RATIOS = ("features/ratio", "heads/ratio")


@dataclass(frozen=True)
class Run:
    """Settings and results of a run; None is an unknown value.

    Args:
        data: name of the data set.
        method: label of the method.
        seed: seed of initial weights, data order and augmentation.
        map50_95: mAP50-95 of the last epoch's EMA weights, measured by Ultralytics' validator, in [0, 1].
        map50: mAP50 of the same weights.
        measured: what both are measured on, which the task decides: "boxes", "masks", "keypoints" or "rotated boxes".
        box_map50_95: mAP50-95 of the boxes of the same weights; equal to `map50_95` for a task that predicts boxes
            alone.
        box_map50: mAP50 of the boxes.
        ap_small: COCO average precision of the boxes of objects up to 32 x 32 pixels of the original image; None
            without such objects, and for rotated boxes.
        ap_medium: the same of objects up to 96 x 96 pixels.
        ap_large: the same of larger objects.
        class_ap: mAP50-95 by class name.
        epoch_s: median training time of an epoch in seconds, without validation.
        gradient_ratio: median over the epochs of the gradient ratio at the neck, distillation over detection.
        epochs: number of trained epochs.
        batch: images per batch.
        imgsz: input size in pixels.
        optimizer: optimizer that Ultralytics resolved.
        lr0: learning rate that Ultralytics resolved.
        arguments: train arguments that affect training and differ from Ultralytics' defaults.
        student: initial model.
        student_digest: SHA-256 of the initial model, shortened.
        data_digest: SHA-256 of the data set, shortened.
        train_images: number of train images.
        val_images: number of images that the accuracy is measured on.
        val_fraction: fraction of the train images that is measured on; 0 is the val split.
        val_digest: SHA-256 of the images and labels that the accuracy is measured on, shortened.
        label_fraction: fraction of the train images that keep their labels in the comparison, chosen by the seed; 1 is
            all.
        labelled_images: number of train images whose labels this run was given; all with the option `labels=all`.
        labelled_digest: SHA-256 of the paths of the images that keep their labels, shortened; None if all do.
        teacher: checkpoint of the teacher; None without distillation.
        teacher_digest: SHA-256 of the teacher, shortened.
        options: options of the method.
        batches_digest: digest of file names and classes in the batches of the first epochs, after augmentation.
        init_digest: digest of the initial weights.
        epoch_images: number of images in the batches of an epoch; None if it is not known.
        resumed: epochs after which the run was stopped and resumed, which starts a new data order. Empty if it was
            never stopped, or if this is not known (a run that was trained elsewhere).
        device_type: "cpu" or "cuda".
        device: name of the device.
        versions: versions of the software.
    """

    data: str
    method: str
    seed: int
    map50_95: float | None = None
    map50: float | None = None
    measured: str = TASKS["detect"].measured
    box_map50_95: float | None = None
    box_map50: float | None = None
    ap_small: float | None = None
    ap_medium: float | None = None
    ap_large: float | None = None
    class_ap: dict[str, float] | None = None
    epoch_s: float | None = None
    gradient_ratio: float | None = None
    epochs: int | None = None
    batch: int | None = None
    imgsz: int | None = None
    optimizer: str | None = None
    lr0: float | None = None
    arguments: dict[str, Any] | None = None
    student: str | None = None
    student_digest: str | None = None
    data_digest: str | None = None
    train_images: int | None = None
    val_images: int | None = None
    val_fraction: float | None = None
    val_digest: str | None = None
    label_fraction: float = 1.0
    labelled_images: int | None = None
    labelled_digest: str | None = None
    teacher: str | None = None
    teacher_digest: str | None = None
    options: dict[str, Any] | None = None
    batches_digest: str | None = None
    init_digest: str | None = None
    epoch_images: int | None = None
    resumed: list[int] = field(default_factory=list)
    device_type: str | None = None
    device: str | None = None
    versions: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Data, method and seed, which identify the run."""
        return self.data, self.method, self.seed

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        part = f" with {percent(self.label_fraction)} of the labels" if self.label_fraction < 1 else ""
        return f"{self.data}{part}, {self.method}, seed {self.seed}"

    @property
    def task(self) -> YoloTask:
        """Task of the student."""
        return _TASK_OF_MEASURED[self.measured]

    def with_values(self, **values: Any) -> Run:
        """Return a copy with other values."""
        return replace(self, **values)


def percent(fraction: float) -> str:
    """Return a fraction as text, such as `12.5 %`."""
    return f"{100 * fraction:.3g} %"


COLUMNS = tuple(entry.name for entry in fields(Run))
_TEXT_COLUMNS = (
    *(
        "data",
        "method",
        "measured",
        "optimizer",
        "student",
        "student_digest",
        "data_digest",
        "teacher",
        "teacher_digest",
    ),
    *("val_digest", "labelled_digest"),
    *("batches_digest", "init_digest", "device_type", "device", "versions"),
)


def read_runs(path: Path) -> list[Run]:
    """Read the finished runs; an incomplete last line is ignored.

    Args:
        path: `runs.csv`; may be missing.

    Raises:
        FGDError: the file cannot be read, or a line is not a run.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise FGDError(f"{path} cannot be read ({one_line(error)[:160]}): repair or remove it") from error
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    if not lines:
        return []
    reader = csv.DictReader(lines)
    runs = []
    for row in reader:
        try:
            values = {name: _parse_cell(name, row[name]) for name in COLUMNS if row.get(name)}
            if "map50_95" not in values or values.get("measured", "boxes") not in _TASK_OF_MEASURED:
                raise ValueError("no accuracy, or that of an unknown task")
            runs.append(Run(**values))
        except (TypeError, ValueError) as error:
            raise FGDError(
                f"{path} line {reader.line_num} is not a run of a comparison: repair or remove it"
            ) from error
    return runs


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Replace the file with these runs, and flush it to disk."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_format_cell(getattr(run, name)) for name in COLUMNS] for run in runs)
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())


def _parse_cell(name: str, text: str) -> Any:
    """Parse a cell; names are made printable, since the file may come from elsewhere."""
    if name in _TEXT_COLUMNS:
        return printable(text)
    value = json.loads(text)
    return {printable(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _format_cell(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if isfinite(value) else ""
    return value if isinstance(value, str) else to_json(value, default=str)


def read_curve(path: Path) -> list[dict[str, float]]:
    """Read Ultralytics' `results.csv`: one row per epoch, in order.

    If a resumed training has written an epoch twice, the later row is used. Damaged rows are ignored. The column
    `TASK_MAP50_95` is added, and for distilled runs `GRADIENT_RATIO`.

    Args:
        path: the file; may be missing.
    """
    if not path.is_file():
        return []
    by_epoch = {}
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")  # csv stops at a NUL
    for row in csv.DictReader(text.splitlines(), skipinitialspace=True):
        try:
            values = {key.strip(): float(value) for key, value in row.items()}
            by_epoch[values["epoch"]] = values
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        if own := [values[name] for name in _MAP50_95_OF_TASKS if name in values]:
            values[TASK_MAP50_95] = own[0]
        if ratios := [values[name] for name in _RATIOS if name in values]:
            values[GRADIENT_RATIO] = sum(ratios)
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def curve_file(output: Path, run: Run) -> Path:
    """Return the file of a run's learning curve."""
    return output / CURVES / f"{folder_name(run.data)}-{folder_name(run.method)}-{run.seed}.csv"


def copy_curve(output: Path, run: Run, results: Path) -> None:
    """Copy the rows of a run's `results.csv` to the folder of curves."""
    rows = read_curve(results)
    if not rows:
        return
    with atomic_path(curve_file(output, run)) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([f"{value:.6g}" for value in row.values()] for row in rows)


def read_context(output: Path) -> dict[str, Any]:
    """Read `compare.json`: the commands and machines of a comparison, and the accuracy of its teachers.

    Raises:
        FGDError: the file is damaged.
    """
    path = output / CONTEXT
    if not path.exists():
        return {"commands": [], "machines": [], "teachers": {}}
    try:
        context = json.loads(path.read_text(encoding="utf-8"))
        types = {"commands": list, "machines": list, "teachers": dict}
        if not all(isinstance(context[key], kind) for key, kind in types.items()):
            raise ValueError("wrong type")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FGDError(f"{path} is damaged: remove it and run the same command, which writes it again") from error
    return context


def write_context(output: Path, context: dict[str, Any]) -> None:
    """Write `compare.json`, which `read_context` reads."""
    with atomic_path(output / CONTEXT) as path:
        path.write_text(to_json(context, indent=2) + "\n", encoding="utf-8")
