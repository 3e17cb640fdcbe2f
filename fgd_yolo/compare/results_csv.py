"""One finished run as a row of `runs.csv`, and the file, which is whole at every moment."""

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

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import printable

RUNS = "runs.csv"
SIZES = ("small", "medium", "large")
"""COCO's sizes of objects: up to 32 x 32 pixels of the original image, up to 96 x 96, and above."""


@dataclass(frozen=True)
class Run:
    """A run: what it was, what it had in common with the others, what it reached. None is unknown.

    Args:
        data: name of the data set.
        method: as it was spelled.
        seed: of initial weights, order and augmentation.
        map50_95: of the last epoch's EMA weights, by the host's validator, in [0, 1].
        map50: the same at IoU 0.5.
        ap_small: COCO average precision of objects below 32 x 32 pixels of the original image; None without any.
        ap_medium: of those up to 96 x 96 pixels.
        ap_large: of those above.
        class_ap: mAP50-95 by class name.
        epoch_s: median seconds of an epoch's training, without validation.
        share: median over the epochs of the distillation's share of the gradient at the neck.
        epochs: that were trained.
        batch: images a step.
        imgsz: input side, pixels.
        optimizer: that the host resolved.
        lr0: learning rate that the host resolved.
        arguments: train arguments other than the host's defaults that decide what is learnt.
        student: model that was started from.
        student_key: its content.
        data_key: content of the data.
        train_images: that were learnt from.
        val_images: that were measured on.
        hold_out: part of the train images that was measured on; 0 is the val split.
        teacher: checkpoint; None where nothing was distilled.
        teacher_key: its content.
        options: of the method.
        order: digest of image order, boxes and classes in the first epochs' batches.
        init: digest of the initial weights.
        continued: epochs after which the run was stopped and continued; data order begins anew there. Empty
            where there was none, or nobody knows (a run that was taken in).
        device_type: "cpu" or "cuda".
        device: its name.
        versions: of what computed it.
    """

    data: str
    method: str
    seed: int
    map50_95: float | None = None
    map50: float | None = None
    ap_small: float | None = None
    ap_medium: float | None = None
    ap_large: float | None = None
    class_ap: dict[str, float] | None = None
    epoch_s: float | None = None
    share: float | None = None
    epochs: int | None = None
    batch: int | None = None
    imgsz: int | None = None
    optimizer: str | None = None
    lr0: float | None = None
    arguments: dict[str, Any] | None = None
    student: str | None = None
    student_key: str | None = None
    data_key: str | None = None
    train_images: int | None = None
    val_images: int | None = None
    hold_out: float | None = None
    teacher: str | None = None
    teacher_key: str | None = None
    options: dict[str, Any] | None = None
    order: str | None = None
    init: str | None = None
    continued: list[int] = field(default_factory=list)
    device_type: str | None = None
    device: str | None = None
    versions: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Data, method and seed: there is one run of each."""
        return self.data, self.method, self.seed

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"{self.data}, {self.method}, seed {self.seed}"

    def with_values(self, **values: Any) -> Run:
        """Return a copy with other values."""
        return replace(self, **values)


COLUMNS = tuple(entry.name for entry in fields(Run))
_TEXT = ("data", "method", "optimizer", "student", "student_key", "data_key", "teacher", "teacher_key", "order")
_TEXT += ("init", "device_type", "device", "versions")


def read_runs(path: Path) -> list[Run]:
    """Read the finished runs; a last line that a crash cut short is left out.

    Args:
        path: `runs.csv`; may be missing.

    Raises:
        FGDError: it is no file of runs.
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
            known = {name: _read(name, row[name]) for name in COLUMNS if row.get(name)}
            if "map50_95" not in known:
                raise ValueError("no accuracy")
            runs.append(Run(**known))
        except (TypeError, ValueError) as error:
            raise FGDError(f"{path} line {reader.line_num} is no run of a comparison: repair or remove it") from error
    return runs


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write all runs in the place of the file, which is on the disk when this returns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_written(getattr(run, name)) for name in COLUMNS] for run in runs)
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())


def _read(name: str, text: str) -> Any:
    """Read a cell; a file that somebody else made holds names that nobody has cleaned."""
    if name in _TEXT:
        return printable(text)
    value = json.loads(text)
    return {printable(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _written(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if isfinite(value) else ""
    return value if isinstance(value, str) else to_json(value, default=str)
