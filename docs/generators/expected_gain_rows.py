"""What the comparisons say about the gain to expect, as the package reads it and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from committed_rows import (
    COMPARISON,
    FORMER,
    OURS,
    PLAIN,
    RANDOM_TEACHERS,
    RESULTS,
    WITH_FEATURES,
    folders_of,
    markdown,
    rows_of,
    rows_so_far,
)
from other_setting_tables import DATA_SETS, SETTINGS, folder_of
from random_teachers_tables import OTHER_RUNS

from fgd_yolo.compare.paired_differences import estimate, pairs
from fgd_yolo.compare.results import Run, read_context
from fgd_yolo.train_arguments import count_steps
from fgd_yolo.training.expected_gain import FILE, FIRST_STEPS, PooledPairs, kind_of


class _Pair(NamedTuple):
    method: str
    run: Run
    points: float
    steps: int
    teacher_map: float


def _comparisons() -> Iterator[tuple[str, str, str]]:
    """Return folder, label and name of each method that was compared with plain training with its default options."""
    for folder in (folder for data in COMPARISON for folder in folders_of(data)):
        yield from ((folder, method, method) for method in (OURS, WITH_FEATURES))
    for setting, (_, method) in SETTINGS.items():
        folders = (folder_of(setting, data) for data in DATA_SETS)
        yield from ((folder, method, method) for folder in folders if rows_so_far(folder))
    yield from ((folder, FORMER, "fgd+heads") for folder in (RANDOM_TEACHERS, *OTHER_RUNS))


def _pairs() -> Iterator[_Pair]:
    for folder, label, method in _comparisons():
        runs, teachers = rows_of(folder), read_context(RESULTS / folder)["teachers"]
        by_key = {run.key: run for run in runs}
        for pair in pairs(runs, label, PLAIN):
            run = by_key[pair.data, label, pair.seed]
            settings = {"batch": run.batch, "epochs": run.epochs, **run.arguments}
            teacher_map = max(row["map50_95"] for row in teachers[run.data])
            yield _Pair(method, run, pair.points, count_steps(settings, run.train_images)[1], teacher_map)


def pooled() -> list[PooledPairs]:
    """Return the pairs, pooled by method, kind of student and number of optimizer steps."""
    groups: dict[tuple[str, str, int], list[_Pair]] = {}
    for pair in _pairs():
        first = max(step for step in FIRST_STEPS if step <= pair.steps)
        groups.setdefault((pair.method, kind_of(pair.run.student), first), []).append(pair)
    return [_pool(*group, own) for group, own in groups.items()]


def _pool(method: str, student: str, first_step: int, own: list[_Pair]) -> PooledPairs:
    result, sizes = estimate([pair.points for pair in own]), [pair.run.imgsz for pair in own]
    numbers = (result.mean, result.low, result.high, min(pair.teacher_map for pair in own))
    rounded = (None if number is None else round(number, 3) for number in numbers)
    data_sets = len({pair.run.data for pair in own})
    students = " and ".join(dict.fromkeys(pair.run.student for pair in own))
    return PooledPairs(method, student, students, first_step, result.n, data_sets, *rounded, min(sizes), max(sizes))


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
    """The gain of each method over plain training by kind of student and number of steps."""
    rows = []
    for entry in pooled():
        interval = "" if entry.low is None else f"{entry.low:+.1f} to {entry.high:+.1f}"
        counts = [str(entry.pairs), str(entry.data_sets), entry.px, f"{entry.lowest_teacher:.3f}"]
        rows.append([f"`{entry.method}`", entry.students, entry.steps, *counts, f"{entry.mean:+.1f}", interval])
    counted = ["pairs", "data sets", "px", "lowest teacher mAP50-95"]
    return markdown(["method", "student", "optimizer steps", *counted, "points", "95 % interval"], rows, labels=3)
