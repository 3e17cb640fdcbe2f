"""The families of models: every YAML that the installed Ultralytics ships, and the tables of what was distilled.

`make matrix` distils with all of them and writes the record, `docs/results/families.csv`, from which the tables are
made. A YAML that has neither rows there nor a reason in `OTHER_HEADS` fails a test.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ultralytics.utils import ROOT as ULTRALYTICS

from fgd_yolo.task_table import OTHER_HEADS, TASK_OF_HEAD, last_layer
from fgd_yolo.ultralytics import read_architecture

RECORD = Path(__file__).parents[1] / "results/families.csv"
NARROW = "narrow"

COLUMNS = (
    "student",
    "teacher",
    "task",
    "student_parameters",
    "teacher_parameters",
    "shared_strides",
    "student_alone",
    "teacher_alone",
    "terms",
    "ultralytics",
    "torch",
)

Pair = tuple[str, str]
"""The names of a student and its teacher."""


class Shipped(NamedTuple):
    """A model YAML of Ultralytics.

    Args:
        name: its file name without suffix.
        folder: its folder, which stands for the family.
        head: class name of its last layer.
        scale: the scale that the name without a letter stands for, the first of the YAML; empty if it has none.
    """

    name: str
    folder: str
    head: str
    scale: str

    @property
    def task(self) -> str | None:
        """Name of its task, or None if it is refused."""
        task = TASK_OF_HEAD.get(self.head)
        return None if task is None else task.name


def shipped() -> list[Shipped]:
    """Return every model YAML of the installed Ultralytics, by family and name; the numbers of families ascend."""
    models = []
    for path in (ULTRALYTICS / "cfg/models").rglob("*.yaml"):
        content = read_architecture(path)
        models.append(
            Shipped(path.stem, path.parent.name, last_layer(content), next(iter(content.get("scales", {})), ""))
        )
    return sorted(models, key=lambda model: (_number(model.folder), model.folder, model.name))


def _number(folder: str) -> float:
    digits = re.search(r"\d+", folder)
    return float(digits[0]) if digits else float("inf")


def update_record(measured: Mapping[Pair, dict[str, str] | None], order: Sequence[Pair]) -> None:
    """Replace the rows of some pairs in the record.

    Args:
        measured: the new row of each pair that was distilled; None, if that failed, removes the old one.
        order: all pairs, in the order of the record; rows of others are removed.
    """
    old = {(row["student"], row["teacher"]): row for row in read_record()} if RECORD.is_file() else {}
    rows = [row for pair in order if (row := {**old, **measured}.get(pair)) is not None]
    with RECORD.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_record() -> list[dict[str, str]]:
    """Return the rows of the record."""
    with RECORD.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def families() -> Iterator[list[str]]:
    """Return a row for each model that distils: its size, and where it was taught and where it taught."""
    record = read_record()
    as_student = {row["student"]: row for row in record if row["teacher"] == NARROW}
    as_teacher = {row["teacher"]: row for row in record if row["student"] == NARROW}
    for model in shipped():
        if model.task is not None and model.name in as_student and model.name in as_teacher:
            taught, taught_by = as_student[model.name], as_teacher[model.name]
            size = f"{int(taught['student_parameters']) / 1e6:.1f} M"
            student = _levels(taught["shared_strides"], taught["student_alone"], "alone")
            teacher = _levels(taught_by["shared_strides"], taught_by["teacher_alone"], "unused")
            yield [f"`{model.name}`", model.scale, model.task, size, student, teacher, _terms(taught)]


def family_pairs() -> Iterator[list[str]]:
    """Return a row for each pair of two families."""
    for row in read_record():
        if NARROW not in (row["student"], row["teacher"]):
            alone = row["student_alone"] or "none", row["teacher_alone"] or "none"
            yield [f"`{row['student']}`", f"`{row['teacher']}`", _spaced(row["shared_strides"]), *alone, _terms(row)]


def refused() -> Iterator[list[str]]:
    """Return a row for each model that is refused, with the reason; an unknown head has none."""
    for model in shipped():
        if model.task is None:
            yield [f"`{model.name}`", f"`{model.head}`", OTHER_HEADS.get(model.head, "")]


def versions() -> str:
    """Return how many distillations the record has, and with which versions."""
    record = read_record()
    both = sorted({(row["ultralytics"], row["torch"]) for row in record})
    listed = " and ".join(f"Ultralytics {ultralytics} with torch {torch}" for ultralytics, torch in both)
    return f"Recorded: {len(record)} distillations of one step, {listed}."


def _levels(shared: str, alone: str, word: str) -> str:
    return _spaced(shared) + (f"; {_spaced(alone)} {word}" if alone else "")


def _spaced(strides: str) -> str:
    return ", ".join(strides.split())


def _terms(row: dict[str, str]) -> str:
    names = row["terms"].split()
    heads = [name.removeprefix("head_") for name in names if name.startswith("head_")]
    return ", ".join([f"{len(names) - len(heads)} of features", *heads])
