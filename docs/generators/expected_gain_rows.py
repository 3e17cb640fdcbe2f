"""What the committed comparisons say about the gain to expect, as the package reads it and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from committed_rows import OURS, RANDOM_TEACHERS, RESULTS, markdown, rows_of
from random_teachers_tables import OTHER_RUNS

from fgd_yolo.compare.paired_differences import estimate, pairs
from fgd_yolo.compare.results import Run, read_context
from fgd_yolo.train_arguments import count_steps
from fgd_yolo.training.expected_gain import FILE, FIRST_STEPS, KINDS, PooledPairs, kind_of

COMPARISONS = (RANDOM_TEACHERS, *OTHER_RUNS)
"""The comparisons of the default with plain training, on val splits that chose nothing."""


class _Pair(NamedTuple):
    run: Run
    points: float
    steps: int
    teacher_map: float


def _pairs() -> Iterator[_Pair]:
    for folder in COMPARISONS:
        runs, teachers = rows_of(folder), read_context(RESULTS / folder)["teachers"]
        by_key = {run.key: run for run in runs}
        for pair in pairs(runs, OURS, "plain"):
            run = by_key[pair.data, OURS, pair.seed]
            settings = {"batch": run.batch, "epochs": run.epochs, **run.arguments}
            teacher_map = max(row["map50_95"] for row in teachers[run.data])
            yield _Pair(run, pair.points, count_steps(settings, run.train_images)[1], teacher_map)


def pooled() -> list[PooledPairs]:
    """Return the pairs, pooled by kind of student and number of optimizer steps."""
    every, entries = list(_pairs()), []
    for student in dict.fromkeys(KINDS.values()):
        for first, after in zip(FIRST_STEPS, (*FIRST_STEPS[1:], float("inf")), strict=True):
            own = [pair for pair in every if first <= pair.steps < after and kind_of(pair.run.student) == student]
            if own:
                result, sizes = estimate([pair.points for pair in own]), [pair.run.imgsz for pair in own]
                teacher = min(pair.teacher_map for pair in own)
                data_sets = len({pair.run.data for pair in own})
                numbers = (result.mean, result.low, result.high, teacher)
                rounded = (None if number is None else round(number, 3) for number in numbers)
                entries.append(PooledPairs(student, first, result.n, data_sets, *rounded, min(sizes), max(sizes)))
    return entries


def as_csv() -> str:
    """Return the content of the file in the package."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*PooledPairs.__dataclass_fields__], lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(entry) for entry in pooled())
    return text.getvalue()


def is_current() -> bool:
    """Return whether the file in the package says what the rows say."""
    return FILE.is_file() and FILE.read_text(encoding="utf-8") == as_csv()


def expected_gains() -> str:
    """The gain of the default over plain training by kind of student and number of steps."""
    rows = []
    for entry in pooled():
        interval = "" if entry.low is None else f"{entry.low:+.1f} to {entry.high:+.1f}"
        counts = [str(entry.pairs), str(entry.data_sets), entry.px, f"{entry.lowest_teacher:.3f}"]
        rows.append([entry.student, entry.steps, *counts, f"{entry.mean:+.1f}", interval])
    head = ["student", "run", "pairs", "data sets", "px", "weakest teacher", "points", "95 % interval"]
    return markdown(head, rows, labels=2)
