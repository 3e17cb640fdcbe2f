"""The tables of the report, with cells as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any, NamedTuple

from fgd_yolo.compare.paired_differences import Estimate, cost_ratios, estimate, pairs, sort_methods
from fgd_yolo.compare.results import SIZES, Run
from fgd_yolo.task_table import YoloTask
from fgd_yolo.timing import UNKNOWN, format_number


class Table(NamedTuple):
    """A table; the first `labels` columns identify the row."""

    head: list[str]
    rows: list[list[str]]
    labels: int = 1
    numeric: bool = True


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as text, or a dash for None."""
    return format_number(value, f".{digits}f")


def mean_and_range(values: Sequence[float], digits: int = 4) -> str:
    """Return mean and range, such as `0.5890 (0.5840 to 0.5970)`; the mean alone for a single value."""
    if not values:
        return UNKNOWN
    text = number(mean(values), digits)
    return text if len(values) == 1 else f"{text} ({number(min(values), digits)} to {number(max(values), digits)})"


def data_names(runs: Sequence[Run]) -> list[str]:
    """Return the data sets, in alphabetical order."""
    return sorted({run.data for run in runs})


def select_runs(runs: Sequence[Run], data: str, method: str) -> list[Run]:
    """Return the runs of one method on one data set."""
    return [run for run in runs if run.data == data and run.method == method]


def known_values(runs: Sequence[Run], read: Callable[[Run], Any]) -> list[Any]:
    """Return the values that `read` returns for the runs, without None."""
    return [value for value in map(read, runs) if value is not None]


def accuracy_columns(task: YoloTask) -> dict[str, str]:
    """Return the accuracies that a table of runs of a task shows: column of `Run` by name, the task's own first."""
    own = task.map_name
    columns = {own: "map50_95", own.replace("mAP50-95", "mAP50"): "map50"}
    if task.metric != "box":
        columns |= {"box mAP50-95": "box_map50_95", "box mAP50": "box_map50"}
    return columns


def known_sizes(runs: Sequence[Run]) -> list[str]:
    """Return the object sizes with an average precision in one of the runs at least; none for rotated boxes."""
    return [size for size in SIZES if any(getattr(run, f"ap_{size}") is not None for run in runs)]


def accuracy_table(runs: Sequence[Run], methods: Sequence[str], teachers: dict[str, list[dict[str, Any]]]) -> Table:
    """Return mean and range over the seeds on each data set, below the accuracy of its teachers.

    Args:
        runs: finished runs.
        methods: methods in the order of the rows.
        teachers: accuracy of the teachers, by data set.
    """
    rows, columns = [], accuracy_columns(runs[0].task)
    for data in data_names(runs):
        own = teachers.get(data, [])
        for teacher in own:
            label = f"(teacher {teacher['name']})" if len(own) > 1 else "(the teacher)"
            rows.append([data, label, UNKNOWN, *(number(teacher.get(name)) for name in columns.values())])
        for method in methods:
            seeds = select_runs(runs, data, method)
            if seeds:
                rows.append(
                    [data, method, str(len(seeds)), *(_accuracy_cell(seeds, name) for name in columns.values())]
                )
    head = [f"{name}, mean{'' if column.startswith('box') else ' (range)'}" for name, column in columns.items()]
    return Table(["data", "method", "seeds", *head], rows, labels=2)


def _accuracy_cell(seeds: Sequence[Run], column: str) -> str:
    """Return mean and range of an accuracy, of the boxes beside the task's own the mean alone."""
    values = known_values(seeds, lambda run: getattr(run, column))
    if column.startswith("box"):
        return number(mean(values)) if values else UNKNOWN
    return mean_and_range(values)


def differences_table(runs: Sequence[Run], compared: Sequence[tuple[str, str]]) -> Table:
    """Return the mean difference of each comparison over all data sets, and on each of them."""
    names = data_names(runs)
    rows = []
    for method, other in compared:
        differences = pairs(runs, method, other)
        by_data = [estimate([pair.points for pair in differences if pair.data == data]) for data in names]
        cells = [UNKNOWN if part is None else f"{part.mean:+.2f} (n={part.n})" for part in by_data]
        rows.append(
            [f"{method} over {other}", *_estimate_cells(estimate([pair.points for pair in differences])), *cells]
        )
    head = ["comparison", "mean, points", "95 % interval", "n", *(f"{name} alone" for name in names)]
    return Table(head, rows)


def _estimate_cells(result: Estimate | None) -> list[str]:
    if result is None:
        return [UNKNOWN, UNKNOWN, "0"]
    interval = UNKNOWN if result.low is None else f"{result.low:+.2f} to {result.high:+.2f}"
    return [f"{result.mean:+.2f}", interval, str(result.n)]


def average_precisions(runs: Sequence[Run], data: str) -> dict[str, Callable[[Run], float | None]]:
    """Return functions that read the average precisions of a data set: one per class, then one per object size."""
    chosen = [run for run in runs if run.data == data]
    names = dict.fromkeys(name for run in chosen for name in run.class_ap or {})
    readers: dict[str, Callable[[Run], float | None]] = {
        **{name: lambda run, name=name: (run.class_ap or {}).get(name) for name in names},
        **{f"{size} objects": lambda run, size=size: getattr(run, f"ap_{size}") for size in SIZES},
    }
    return {label: read for label, read in readers.items() if known_values(chosen, read)}


def classes_table(runs: Sequence[Run], data: str, methods: Sequence[str]) -> Table:
    """Return the mean average precision over the seeds by class and by object size, one column per method."""
    rows = []
    for label, read in average_precisions(runs, data).items():
        values = [known_values(select_runs(runs, data, method), read) for method in methods]
        rows.append([data, label, *(number(mean(cell), 3) if cell else UNKNOWN for cell in values)])
    return Table(["data", f"class{' or size' * bool(known_sizes(runs))}", *methods], rows, labels=2)


def cost_table(runs: Sequence[Run], methods: Sequence[str], base: str) -> Table:
    """Return the training time of an epoch, absolute and relative to the base method."""
    rows = []
    for data in data_names(runs):
        for method in methods:
            seeds = select_runs(runs, data, method)
            seconds = known_values(seeds, lambda run: run.epoch_s)
            ratios = cost_ratios([run for run in runs if run.data == data], method, base)
            if seeds:
                rows.append([data, method, mean_and_range(seconds, 1), mean_and_range(ratios, 2)])
    return Table(["data", "method", "seconds per epoch, mean (range)", f"relative to {base}"], rows, labels=2)


def runs_table(runs: Sequence[Run]) -> Table:
    """Return one row per run."""
    columns = accuracy_columns(runs[0].task)
    sizes = {f"AP {size}": f"ap_{size}" for size in (SIZES if known_sizes(runs) else ())}
    measured = {**columns, **sizes}
    rank = {method: index for index, method in enumerate(sort_methods([run.method for run in runs]))}
    rows = [
        [
            *(run.data, run.method, str(run.seed)),
            *(number(getattr(run, name)) for name in measured.values()),
            *(number(run.epoch_s, 2), number(run.gradient_ratio, 3)),
            ", ".join(str(epoch) for epoch in run.resumed) or UNKNOWN,
        ]
        for run in sorted(runs, key=lambda run: (run.data, rank[run.method], run.seed))
    ]
    head = ["data", "method", "seed", *measured, "seconds per epoch", "gradient ratio", "resumed after epoch"]
    return Table(head, rows, labels=3)
