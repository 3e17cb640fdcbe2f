"""The report's tables, as text in rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any, NamedTuple

from fgd_yolo.compare.paired import Estimate, cost_ratios, estimate, ordered, pairs
from fgd_yolo.compare.results_csv import SIZES, Run
from fgd_yolo.timing import UNKNOWN, format_number

NOTHING = UNKNOWN


class Table(NamedTuple):
    """Cells as text; the first `labels` columns of a row say what the row is, the others hold numbers or words."""

    head: list[str]
    rows: list[list[str]]
    labels: int = 1
    numeric: bool = True


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as text, or a dash."""
    return format_number(value, f".{digits}f")


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Return mean and range: `0.5890 (0.5840 to 0.5970)`; the mean alone where there is one value."""
    if not values:
        return NOTHING
    text = number(mean(values), digits)
    ends = number(min(values), digits), number(max(values), digits)
    return text if len(values) == 1 else f"{text} ({ends[0]} to {ends[1]})"


def data_names(runs: Sequence[Run]) -> list[str]:
    """Return the data sets, in alphabetical order."""
    return sorted({run.data for run in runs})


def of(runs: Sequence[Run], data: str, method: str) -> list[Run]:
    """Return the runs of one method on one data set."""
    return [run for run in runs if run.data == data and run.method == method]


def known(runs: Sequence[Run], value: Callable[[Run], Any]) -> list[Any]:
    """Return a value of each run that has it."""
    return [found for found in map(value, runs) if found is not None]


def accuracy(runs: Sequence[Run], methods: Sequence[str], teachers: dict[str, dict[str, Any]]) -> Table:
    """Mean and range over the seeds, on each data set, below the teacher.

    Args:
        runs: finished runs.
        methods: in order.
        teachers: accuracy of each data set's teacher, where one is known.
    """
    rows = []
    for data in data_names(runs):
        teacher = teachers.get(data)
        if teacher:
            rows.append([data, "(the teacher)", NOTHING, number(teacher["map50_95"]), number(teacher["map50"])])
        for method in methods:
            chosen = of(runs, data, method)
            if chosen:
                values = [spread([getattr(run, name) for run in chosen]) for name in ("map50_95", "map50")]
                rows.append([data, method, str(len(chosen)), *values])
    return Table(["data", "method", "seeds", "mAP50-95, mean (range)", "mAP50, mean (range)"], rows, labels=2)


def differences(runs: Sequence[Run], compared: Sequence[tuple[str, str]]) -> Table:
    """Each comparison over all data sets, and its mean on each of them."""
    names = data_names(runs)
    rows = []
    for method, other in compared:
        found = pairs(runs, method, other)
        whole = estimate([pair.points for pair in found])
        by_data = [estimate([pair.points for pair in found if pair.data == data]) for data in names]
        cells = [NOTHING if part is None else f"{part.mean:+.2f} (n={part.n})" for part in by_data]
        rows.append([f"{method} over {other}", *_estimated(whole), *cells])
    head = ["comparison", "mean, points", "95 % interval", "n", *(f"{name} alone" for name in names)]
    return Table(head, rows)


def _estimated(found: Estimate | None) -> list[str]:
    if found is None:
        return [NOTHING, NOTHING, "0"]
    interval = NOTHING if found.low is None else f"{found.low:+.2f} to {found.high:+.2f}"
    return [f"{found.mean:+.2f}", interval, str(found.n)]


def parts(runs: Sequence[Run], data: str) -> dict[str, Callable[[Run], float | None]]:
    """Return how to read each average precision that a data set has: of its classes, then of sizes of objects."""
    chosen = [run for run in runs if run.data == data]
    names = dict.fromkeys(name for run in chosen for name in run.class_ap or {})
    values: dict[str, Callable[[Run], float | None]] = {
        **{name: lambda run, name=name: (run.class_ap or {}).get(name) for name in names},
        **{f"{size} objects": lambda run, size=size: getattr(run, f"ap_{size}") for size in SIZES},
    }
    return {label: value for label, value in values.items() if known(chosen, value)}


def classes(runs: Sequence[Run], data: str, methods: Sequence[str]) -> Table:
    """Mean over the seeds of the average precision by class and by size of object, a column a method."""
    rows = []
    for label, value in parts(runs, data).items():
        cells = [known(of(runs, data, method), value) for method in methods]
        rows.append([data, label, *(number(mean(cell), 3) if cell else NOTHING for cell in cells)])
    return Table(["data", "class or size", *methods], rows, labels=2)


def cost(runs: Sequence[Run], methods: Sequence[str], base: str) -> Table:
    """Seconds of an epoch's training, and how many times the base's."""
    rows = []
    for data in data_names(runs):
        for method in methods:
            chosen = of(runs, data, method)
            seconds = known(chosen, lambda run: run.epoch_s)
            ratios = cost_ratios([run for run in runs if run.data == data], method, base)
            if chosen:
                rows.append([data, method, spread(seconds, 1), spread(ratios, 2)])
    return Table(["data", "method", "seconds an epoch, mean (range)", f"times {base}"], rows, labels=2)


def every_run(runs: Sequence[Run]) -> Table:
    """One row a run, as in the file."""
    place = {method: index for index, method in enumerate(ordered([run.method for run in runs]))}
    rows = [
        [
            *(run.data, run.method, str(run.seed)),
            *(number(value) for value in (run.map50_95, run.map50, run.ap_small, run.ap_medium, run.ap_large)),
            *(number(run.epoch_s, 2), number(run.share, 3)),
            ", ".join(str(epoch) for epoch in run.continued) or NOTHING,
        ]
        for run in sorted(runs, key=lambda run: (run.data, place[run.method], run.seed))
    ]
    sizes = [f"AP {size}" for size in SIZES]
    head = ["data", "method", "seed", "mAP50-95", "mAP50", *sizes, "s an epoch", "share", "continued after epoch"]
    return Table(head, rows, labels=3)
