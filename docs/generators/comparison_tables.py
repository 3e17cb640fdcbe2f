"""The tables and figures of the comparison with strong teachers, on val splits that chose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from committed_rows import (
    DATA,
    HEADS,
    METHODS,
    OURS,
    OWN,
    PLAIN,
    RESULTS,
    ROOT,
    WITH_FEATURES,
    accuracy_cells,
    accuracy_over_seeds,
    bold,
    comparison_rows,
    folders_of,
    gain,
    interval,
    markdown,
    rows_of,
    with_progress,
)
from matplotlib.figure import Figure

from fgd_yolo.compare.paired_differences import Estimate
from fgd_yolo.compare.plots import draw_differences, new_figure, plan_plots, save_png
from fgd_yolo.compare.results import Run, curve_file, read_context, read_curve
from fgd_yolo.compare.tables import classes_table, number, select_runs

FIGURES = ROOT / "docs/pictures"
RUNS_PLANNED = 79
_AS_DEFAULT = {PLAIN: (3.0, 0.0), OWN: (1.5, 0.0)}
TARGETS = {
    (WITH_FEATURES, HEADS): (0.3, -0.3),
    **{(method, other): target for method in (HEADS, WITH_FEATURES) for other, target in _AS_DEFAULT.items()},
}
"""The least mean gain of a method over another, and what the lower bound of its interval must exceed, in points."""
EXPLAINED = f"bccd-{WITH_FEATURES}-0.csv"
"""Curves of the run whose terms and ratios are shown: it has those of both groups."""


def comparison() -> str:
    """Mean accuracy by data set and way to train, and the paired gains of the default."""
    names = {PLAIN: METHODS[PLAIN], OWN: METHODS[OWN], OURS: "fgd_yolo", WITH_FEATURES: "with FGD's features"}
    runs, head = comparison_rows(), ["mAP50-95 of the last epoch", "seeds", "teacher yolov8s", *names.values()]
    found = {method: None if method == OURS else gain(runs, OURS, method) for method in names}
    mean_cells = ["" if own is None else f"{bold(f'{own.mean:+.2f}')} (n={own.n})" for own in found.values()]
    bounds = ["" if own is None else interval(own) for own in found.values()]
    over = ["gain of fgd_yolo, points, over n pairs", "", "", *mean_cells]
    return markdown(head, [*_accuracy_rows(list(names)), over, ["its 95 % interval", "", "", *bounds]])


def accuracy_by_data() -> str:
    """Mean accuracy by data set and method, over the seeds that have a row of each method that was trained there."""
    head = ["mAP50-95 of the last epoch", "seeds", "teacher yolov8s", *METHODS.values()]
    return markdown(head, _accuracy_rows(list(METHODS)))


def _accuracy_rows(methods: Sequence[str]) -> list[list[str]]:
    """Return a row for each data set: seeds, accuracy of its teachers, and mean accuracy of each method."""
    runs, rows = comparison_rows(), []
    for data, name in DATA.items():
        seeds = _complete_seeds([run for run in runs if run.data == data])
        if seeds:
            own = [[run for run in select_runs(runs, data, method) if run.seed in seeds] for method in methods]
            means = [mean(run.map50_95 for run in group) if group else None for group in own]
            cells = accuracy_cells(means, max(filter(None, means)))
            rows.append([name, str(len(seeds)), _teacher_maps(data), *cells])
    return rows


def _complete_seeds(runs: Sequence[Run]) -> set[int]:
    """Return the seeds of one data set with a row of every method that was trained on it."""
    trained = {run.method for run in runs}
    return trained and set.intersection(*({run.seed for run in runs if run.method == method} for method in trained))


def _teacher_maps(data: str) -> str:
    """Return the mAP50-95 of the teachers of a data set, with commas."""
    contexts = [read_context(RESULTS / folder)["teachers"] for folder in folders_of(data)]
    maps = [number(teachers[0]["map50_95"], 3) for context in contexts for teachers in context.values()]
    return ", ".join(dict.fromkeys(maps))


def targets() -> str:
    """What the comparison was asked before its first run, and what it says so far."""
    runs, rows = comparison_rows(), []
    for (method, other), (least_mean, bound) in TARGETS.items():
        found = gain(runs, method, other)
        asked = f"at least {least_mean:+.1f}, above {bound:g}"
        met = found.mean >= least_mean and found.low > bound
        outcome = ("met" if met else "missed") if len(runs) == RUNS_PLANNED else "open"
        name = f"{METHODS[method]} over {METHODS[other]}"
        rows.append([name, asked, bold(f"{found.mean:+.2f}"), interval(found), str(found.n), outcome])
    head = ["question", "asked: mean, lower bound", "mean, points", "95 % interval", "pairs", "outcome"]
    return with_progress(markdown(head, rows, labels=2), len(runs), RUNS_PLANNED)


def gains() -> str:
    """The gains of both forms of the distillation by data set."""
    runs, rows = comparison_rows(), []
    for method, other in TARGETS:
        cells = [_part(gain(runs, method, other, data)) for data in DATA]
        rows.append([f"{METHODS[method]} over {METHODS[other]}", *cells])
    return markdown(["mean, points", *DATA.values()], rows)


def _part(part: Estimate | None) -> str:
    return "" if part is None else f"{part.mean:+.2f} (n={part.n})"


def each_pair() -> str:
    """The accuracy of every run by data set and seed."""
    by_key = {run.key: run for run in comparison_rows()}
    rows = []
    for data, name in DATA.items():
        for seed in sorted({seed for own, _, seed in by_key if own == data}):
            found = [by_key.get((data, method, seed)) for method in METHODS]
            values = [run and run.map50_95 for run in found]
            rows.append([name, str(seed), *accuracy_cells(values, max(filter(None, values)))])
    return markdown(["data", "seed", *METHODS.values()], rows)


def accuracy() -> str:
    """Mean and range over the seeds, and the mean of mAP50."""
    return accuracy_over_seeds(comparison_rows(), DATA, METHODS)


def classes(data: str) -> str:
    """Mean average precision by class and by object size on a data set."""
    table = classes_table(comparison_rows(), data, list(METHODS))
    return markdown([DATA[data], *METHODS.values()], [row[1:] for row in table.rows])


def terms() -> str:
    """The terms, ratios and gains of one run at four epochs as results.csv has them."""
    curve = {row["epoch"]: row for row in read_curve(RESULTS / folders_of("bccd")[0] / "curves" / EXPLAINED)}
    losses = ("fg_loss", "bg_loss", "attn_loss", "rel_loss", "head_cls", "head_box", "head_dfine")
    digits = {**{f"train/{name}": 3 for name in losses}, "features/ratio": 2, "features/gain": 2}
    digits |= {"heads/ratio": 2, "heads/gain": 2}
    rows = [[f"`{name}`", *(_digits(curve[epoch][name], n) for epoch in (1, 10, 30, 60))] for name, n in digits.items()]
    return markdown(["column", "epoch 1 (warm-up)", "10", "30 (features falling)", "60"], rows)


def _digits(value: float, digits: int) -> str:
    return "0" if value == 0 else number(value, digits)


def draw_gradient_ratio() -> Figure:
    """Draw ratio and gain of both groups over the epochs of one run."""
    curve = read_curve(RESULTS / folders_of("bccd")[0] / "curves" / EXPLAINED)
    figure, (ratio, gain) = new_figure(6.4, 4.6, panels=2)
    for group, colour, target in (("features", "#009E73", 0.1), ("heads", "#7A6FD0", 0.5)):
        epochs = [row["epoch"] for row in curve]
        ratio.plot(epochs, [row[f"{group}/ratio"] for row in curve], color=colour, label=f"{group}/ratio")
        ratio.axhline(target, color=colour, linestyle=":", linewidth=1)
        gain.plot(epochs, [row[f"{group}/gain"] or None for row in curve], color=colour, label=f"{group}/gain")
    ratio.set(title="BCCD, yolov8s to yolov8n, seed 0", ylabel="gradient ratio", ylim=(0, None))
    gain.set(xlabel="epoch", ylabel="gain", yscale="log")
    for axes in (ratio, gain):
        axes.axvspan(18, 36, color="#888888", alpha=0.12, linewidth=0)
        axes.legend(fontsize=8)
    ratio.text(0.45, 0.9, "features decay", fontsize=8, ha="center", transform=ratio.transAxes)
    return figure


def draw_figures() -> None:
    """Draw the figures of the pages, with the names of the tables."""
    runs, names = [_renamed(run) for run in comparison_rows()], {name: _plain_text(METHODS[name]) for name in METHODS}
    questions = [(names[method], names[other]) for method, other in TARGETS]
    FIGURES.mkdir(exist_ok=True)
    save_png(lambda: draw_differences(runs, questions), FIGURES / "differences.png")
    for data, shown in DATA.items():
        if folders_of(data):
            curves = {
                _renamed(run).key: read_curve(curve_file(RESULTS / folder, run))
                for folder in folders_of(data)
                for run in rows_of(folder)
            }
            save_png(plan_plots(runs, curves)[f"curves-{shown.replace(' ', '-')}"].draw, FIGURES / f"curves-{data}.png")
    save_png(draw_gradient_ratio, FIGURES / "gradient-ratio.png")


def _renamed(run: Run) -> Run:
    return replace(run, data=DATA[run.data], method=_plain_text(METHODS[run.method]))


def _plain_text(markdown_text: str) -> str:
    return markdown_text.replace("`", "")
