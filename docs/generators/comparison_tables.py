"""The tables and figures of the comparison that the README is about: twelve pairs of runs of 100 epochs."""

from __future__ import annotations

from statistics import mean

from committed_rows import (
    DATA,
    METHODS,
    OURS,
    RESULTS,
    ROOT,
    accuracy_cells,
    bold,
    by_seed,
    conclusion,
    gain,
    interval,
    markdown,
    rows_of,
)
from matplotlib.figure import Figure

from fgd_yolo.compare.plots import new_figure, plan_plots, save_png
from fgd_yolo.compare.results import RUNS, curve_file, read_context, read_curve, read_runs
from fgd_yolo.compare.tables import classes_table, mean_and_range, number, select_runs

FIGURES = ROOT / "docs/pictures"


def comparison() -> str:
    """Mean accuracy by data set and method, and the paired gains of fgd_yolo."""
    runs, teachers = rows_of("comparison"), read_context(RESULTS / "comparison")["teachers"]
    rows = []
    for data, name in DATA.items():
        means = [mean(run.map50_95 for run in select_runs(runs, data, method)) for method in METHODS]
        cells = accuracy_cells(means, max(means))
        seeds = len(select_runs(runs, data, OURS))
        rows.append([name, str(seeds), number(teachers[data][0]["map50_95"], 3), *cells])
    gains = [gain(runs, OURS, other) for other in METHODS if other != OURS]
    rows.append(["gain of fgd_yolo, points", f"{gains[0].n} pairs", "", *(bold(f"{g.mean:+.2f}") for g in gains), ""])
    rows.append(["its 95 % interval", "", "", *map(interval, gains), ""])
    return markdown(["mAP50-95 after 100 epochs", "seeds", "teacher yolov8s", *METHODS.values()], rows)


def gains() -> str:
    """The gain of fgd_yolo over each other method, in total and by data set."""
    runs, rows = rows_of("comparison"), []
    for other, name in METHODS.items():
        if other != OURS:
            total = gain(runs, OURS, other)
            parts = [gain(runs, OURS, other, data) for data in DATA]
            cells = [f"{part.mean:+.2f} (n={part.n})" for part in parts]
            rows.append([name, bold(f"{total.mean:+.2f}"), interval(total), str(total.n), *cells])
    return markdown(["fgd_yolo over", "mean, points", "95 % interval", "pairs", *DATA.values()], rows)


def each_pair() -> str:
    """The accuracy of every run, and the gain of fgd_yolo over the others of the same data and seed."""
    runs = rows_of("comparison")
    by_key = {run.key: run for run in runs}
    rows = []
    for data, name in DATA.items():
        for run in by_seed(select_runs(runs, data, OURS)):
            others = [by_key[data, method, run.seed] for method in METHODS if method != OURS]
            points = [f"{100 * (run.map50_95 - other.map50_95):+.1f}" for other in others]
            rows.append([name, str(run.seed), *(number(r.map50_95, 3) for r in (*others, run)), *points])
    over = [f"over {name.split()[0]}" for method, name in METHODS.items() if method != OURS]
    return markdown(["data", "seed", *METHODS.values(), *over], rows)


def accuracy() -> str:
    """Mean and range over the seeds, and the mean of mAP50."""
    runs, rows = rows_of("comparison"), []
    for data, name in DATA.items():
        for method in METHODS:
            seeds = select_runs(runs, data, method)
            values = mean_and_range([run.map50_95 for run in seeds], 3), number(mean(run.map50 for run in seeds), 3)
            rows.append([name, f"`{method}`", str(len(seeds)), *values])
    return markdown(["data", "method", "seeds", "mAP50-95, mean (range)", "mAP50"], rows, labels=2)


def classes(data: str) -> str:
    """Mean average precision by class and by object size on a data set."""
    table = classes_table(rows_of("comparison"), data, list(METHODS))
    return markdown([DATA[data], *METHODS.values()], [row[1:] for row in table.rows])


def verdicts() -> str:
    """The conclusion over each other method, one line each."""
    runs = rows_of("comparison")
    return "\n".join(
        f"- over {name}: {conclusion(gain(runs, OURS, other))}" for other, name in METHODS.items() if other != OURS
    )


def terms() -> str:
    """The terms, ratios and gains of BCCD, seed 0, at four epochs as results.csv has them."""
    curve = {row["epoch"]: row for row in read_curve(RESULTS / "comparison/curves/bccd-fgd-0.csv")}
    losses = ("fg_loss", "bg_loss", "attn_loss", "rel_loss", "head_cls", "head_box")
    digits = {**{f"train/{name}": 3 for name in losses}, "features/ratio": 2, "features/gain": 2}
    digits |= {"heads/ratio": 2, "heads/gain": 2}
    rows = [
        [f"`{name}`", *(_digits(curve[epoch][name], n) for epoch in (1, 10, 50, 100))] for name, n in digits.items()
    ]
    return markdown(["column", "epoch 1 (warm-up)", "10", "50 (features falling)", "100"], rows)


def _digits(value: float, digits: int) -> str:
    return "0" if value == 0 else number(value, digits)


def draw_gradient_ratio() -> Figure:
    """Draw ratio and gain of both groups over the epochs of one run."""
    curve = read_curve(RESULTS / "comparison/curves/bccd-fgd-0.csv")
    figure, (ratio, gain) = new_figure(6.4, 4.6, panels=2)
    for group, colour, target in (("features", "#009E73", 0.1), ("heads", "#7A6FD0", 0.5)):
        epochs = [row["epoch"] for row in curve]
        ratio.plot(epochs, [row[f"{group}/ratio"] for row in curve], color=colour, label=f"{group}/ratio")
        ratio.axhline(target, color=colour, linestyle=":", linewidth=1)
        gain.plot(epochs, [row[f"{group}/gain"] or None for row in curve], color=colour, label=f"{group}/gain")
    ratio.set(title="BCCD, yolov8s to yolov8n, seed 0", ylabel="gradient ratio", ylim=(0, None))
    gain.set(xlabel="epoch", ylabel="gain", yscale="log")
    for axes in (ratio, gain):
        axes.axvspan(30, 60, color="#888888", alpha=0.12, linewidth=0)
        axes.legend(fontsize=8)
    ratio.text(0.45, 0.9, "features decay", fontsize=8, ha="center", transform=ratio.transAxes)
    return figure


def draw_figures() -> None:
    """Draw the figures of the pages."""
    folder = RESULTS / "comparison"
    runs = read_runs(folder / RUNS)
    plots = plan_plots(runs, {run.key: read_curve(curve_file(folder, run)) for run in runs})
    FIGURES.mkdir(exist_ok=True)
    for name in ("differences", *(f"curves-{data}" for data in DATA)):
        save_png(plots[name].draw, FIGURES / f"{name}.png")
    save_png(draw_gradient_ratio, FIGURES / "gradient-ratio.png")
