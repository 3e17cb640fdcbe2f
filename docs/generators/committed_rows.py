"""The committed rows of comparisons, and the parts that their tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from fgd_yolo.compare.paired_differences import Estimate, estimate, pairs, verdict
from fgd_yolo.compare.results import RUNS, Run, read_runs
from fgd_yolo.compare.tables import mean_and_range, number, select_runs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"

PLAIN, OWN, HEADS, WITH_FEATURES = "plain", "ultralytics:dis=0.35", "heads+dfine", "fgd+heads+dfine"
METHODS = {
    PLAIN: "plain",
    OWN: "Ultralytics `distill_model=`",
    HEADS: f"`{HEADS}`",
    WITH_FEATURES: f"`{WITH_FEATURES}`",
}
"""Names of the methods of the comparison on val splits that chose nothing."""
OURS = HEADS
"""The default among them."""
DATA = {
    "bccd": "BCCD",
    "pcb": "DeepPCB windows",
    "raccoon": "raccoons",
    "demo": "demo scenes",
    "deeppcb-320": "DeepPCB, 320 px",
}
"""Names of its data sets."""
COMPARISON = {
    "bccd": ("verdict-bccd",),
    "pcb": ("verdict-pcb", "verdict-pcb-3-to-5"),
    "raccoon": ("verdict-raccoon",),
    "demo": ("verdict-scenes", "verdict-scenes-0", "verdict-scenes-1-and-2"),
    "deeppcb-320": ("verdict-deeppcb-320",),
}
"""Folders in `docs/results/strong-teachers` of the comparison on each data set: one for each teacher."""
RANDOM_TEACHERS = "random-teachers"
"""Folder of the comparison of the former default, with teachers from random weights."""
FORMER = "fgd"  # label of its rows; the method is fgd+heads


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], labels: int = 1) -> str:
    """Return a Markdown table whose columns after the first `labels` are aligned to the right."""
    rule = ["---" if column < labels else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def rows_of(folder: str) -> list[Run]:
    """Return the committed rows of a comparison."""
    return read_runs(RESULTS / folder / RUNS)


def rows_so_far(folder: str) -> list[Run]:
    """Return the committed rows of a comparison that may not have begun; empty then."""
    return rows_of(folder) if (RESULTS / folder / RUNS).is_file() else []


def comparison_rows() -> list[Run]:
    """Return the committed rows of the comparison so far, over all data sets."""
    return [run for data in COMPARISON for folder in folders_of(data) for run in rows_of(folder)]


def folders_of(data: str) -> list[str]:
    """Return the folders of the comparison on a data set that have rows so far."""
    folders = [f"strong-teachers/{folder}" for folder in COMPARISON[data]]
    return [folder for folder in folders if rows_so_far(folder)]


def bold(text: str) -> str:
    return f"**{text}**"


def accuracy_cells(values: Sequence[float | None], best: float | None) -> list[str]:
    """Return cells of accuracies with three digits: the best ones bold, those that were not measured empty."""
    return ["" if value is None else bold(number(value, 3)) if value == best else number(value, 3) for value in values]


def accuracy_over_seeds(runs: Sequence[Run], data_sets: Mapping[str, str], methods: Mapping[str, str]) -> str:
    """Return a table of the mean and range of mAP50-95 over the seeds, and the mean of mAP50; what was run so far.

    Args:
        runs: rows of a comparison.
        data_sets: name of each data set in the table.
        methods: name of each method by its label, in the order of the table.
    """
    groups = [(name, method, select_runs(runs, data, method)) for data, name in data_sets.items() for method in methods]
    rows = [
        [name, methods[method], str(len(seeds)), mean_and_range([run.map50_95 for run in seeds], 3), _mean_map50(seeds)]
        for name, method, seeds in groups
        if seeds
    ]
    return markdown(["data", "method", "seeds", "mAP50-95, mean (range)", "mAP50"], rows, labels=2)


def _mean_map50(runs: Sequence[Run]) -> str:
    return number(mean(run.map50 for run in runs), 3)


def interval(result: Estimate) -> str:
    return f"{result.low:+.2f} to {result.high:+.2f}"


def gain(runs: Sequence[Run], method: str, other: str, data: str | None = None) -> Estimate | None:
    """Return the mean difference of two methods over all pairs, or over those of one data set; None without any."""
    return estimate([pair.points for pair in pairs(runs, method, other) if data in (None, pair.data)])


def conclusion(result: Estimate) -> str:
    return f"**{result.mean:+.2f} points**, 95 % interval {interval(result)}, n={result.n}: {verdict(result)}"


def with_progress(table: str, made: int, planned: int) -> str:
    """Return a table, with a line below it while runs are missing."""
    return table if made == planned else f"{table}\n\n{made} of {planned} runs have been made."


def pair_cells(plain: Sequence[Run], distilled: Sequence[Run]) -> list[str]:
    """Return the accuracies of runs of the same seeds, and their differences in mAP50-95 and mAP50."""
    values = [", ".join(number(run.map50_95, 3) for run in group) for group in (plain, distilled)]
    return [*values, *(point_differences(distilled, plain, value) for value in ("map50_95", "map50"))]


def by_seed(runs: Sequence[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.seed)


def point_differences(runs: Sequence[Run], others: Sequence[Run], value: str) -> str:
    """Return the differences of runs of the same seeds, in points."""
    matched = zip(runs, others, strict=True)
    return ", ".join(f"{100 * (getattr(run, value) - getattr(other, value)):+.1f}" for run, other in matched)


def mean_and_interval(runs: Sequence[Run], others: Sequence[Run], value: str) -> str:
    """Return the mean difference of runs of the same seeds and its 95 % interval, in points."""
    both = zip(runs, others, strict=True)
    result = estimate([100 * (getattr(run, value) - getattr(other, value)) for run, other in both])
    return f"{result.mean:+.1f} ({result.low:+.1f} to {result.high:+.1f})"
