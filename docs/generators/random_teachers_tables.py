"""The tables of the former default, with teachers from random weights: twelve pairs of runs, and shorter ones."""

from __future__ import annotations

from statistics import mean

from committed_rows import (
    DATA,
    FORMER,
    PLAIN,
    RANDOM_TEACHERS,
    RESULTS,
    accuracy_cells,
    accuracy_over_seeds,
    bold,
    by_seed,
    conclusion,
    gain,
    interval,
    markdown,
    pair_cells,
    rows_of,
)

from fgd_yolo.compare.results import read_context
from fgd_yolo.compare.tables import number, select_runs

METHODS = {
    PLAIN: "plain",
    "ultralytics:dis=0.7": "Ultralytics `distill_model=`",
    "fitnet:features.ratio=0.1": "`fitnet`",
    FORMER: "`fgd+heads`",
}
DATA_SETS = {name: DATA[name] for name in ("bccd", "pcb", "demo")}
OTHER_RUNS = {
    f"{RANDOM_TEACHERS}-short": "yolov8n, 25 epochs",
    f"{RANDOM_TEACHERS}-yolo11n": "yolo11n, 25 epochs",
    f"{RANDOM_TEACHERS}-yolo26n": "yolo26n, 25 epochs",
    f"{RANDOM_TEACHERS}-yolo26n-100-epochs": "yolo26n, 100 epochs",
}
"""Name of the student and its run by the folder of the comparison."""


def random_teachers() -> str:
    """Mean accuracy by data set and method, and the paired gains of the former default."""
    runs, teachers = rows_of(RANDOM_TEACHERS), read_context(RESULTS / RANDOM_TEACHERS)["teachers"]
    rows = []
    for data, name in DATA_SETS.items():
        means = [mean(run.map50_95 for run in select_runs(runs, data, method)) for method in METHODS]
        cells = accuracy_cells(means, max(means))
        seeds = len(select_runs(runs, data, FORMER))
        rows.append([name, str(seeds), number(teachers[data][0]["map50_95"], 3), *cells])
    gains = [gain(runs, FORMER, other) for other in METHODS if other != FORMER]
    rows.append(
        ["gain of `fgd+heads`, points", f"{gains[0].n} pairs", "", *(bold(f"{g.mean:+.2f}") for g in gains), ""]
    )
    rows.append(["its 95 % interval", "", "", *map(interval, gains), ""])
    return markdown(["mAP50-95 after 100 epochs", "seeds", "teacher yolov8s", *METHODS.values()], rows)


def random_teachers_gains() -> str:
    """The gain of the former default over each other method, in total and by data set."""
    runs, rows = rows_of(RANDOM_TEACHERS), []
    for other, name in METHODS.items():
        if other != FORMER:
            total = gain(runs, FORMER, other)
            parts = [gain(runs, FORMER, other, data) for data in DATA_SETS]
            cells = [f"{part.mean:+.2f} (n={part.n})" for part in parts]
            rows.append([name, bold(f"{total.mean:+.2f}"), interval(total), str(total.n), *cells])
    return markdown(["`fgd+heads` over", "mean, points", "95 % interval", "pairs", *DATA_SETS.values()], rows)


def random_teachers_accuracy() -> str:
    """Mean and range over the seeds, and the mean of mAP50."""
    return accuracy_over_seeds(rows_of(RANDOM_TEACHERS), DATA_SETS, METHODS)


def random_teachers_budgets() -> str:
    """Plain and distilled students in shorter runs, and other students."""
    rows = []
    for folder, name in OTHER_RUNS.items():
        runs = rows_of(folder)
        for data, shown in DATA_SETS.items():
            plain, distilled = (by_seed(select_runs(runs, data, method)) for method in (PLAIN, FORMER))
            if distilled:
                seeds = ", ".join(str(run.seed) for run in distilled)
                rows.append([name, shown, seeds, *pair_cells(plain, distilled)])
    head = ["student and run", "data", "seeds", "plain", "`fgd+heads`", "points", "points of mAP50"]
    return markdown(head, rows, labels=3)


def random_teachers_verdicts() -> str:
    """The conclusions from the shorter runs over seeds."""
    return "\n".join(
        f"- {name}: {conclusion(found)}"
        for folder, name in OTHER_RUNS.items()
        if (found := gain(rows_of(folder), FORMER, PLAIN)).low is not None
    )
