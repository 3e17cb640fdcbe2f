"""The report's plots: learning curves, paired differences, classes and sizes, cost, share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean
from typing import NamedTuple

from matplotlib.figure import Figure

from fgd_yolo.compare import tables
from fgd_yolo.compare.canvas import colours, new_figure
from fgd_yolo.compare.curves import MAP50_95, SHARE
from fgd_yolo.compare.paired import cost_ratios, estimate, ordered, pairs
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.compare.sections import PLAIN, comparisons

WIDTH = 5.6
LONG_EPOCHS = 20
_MARKS = "osv^DPX*"

Curves = Mapping[tuple[str, str, int], list[dict[str, float]]]


class Plot(NamedTuple):
    """A plot that can be drawn.

    Args:
        kind: part of the report that it belongs to.
        alt: what it shows, in words.
        draw: gives the figure.
    """

    kind: str
    alt: str
    draw: Callable[[], Figure]


class Band(NamedTuple):
    """What the seeds of a method reach after an epoch."""

    epoch: float
    mean: float
    low: float
    high: float


def plots(runs: Sequence[Run], curves: Curves) -> dict[str, Plot]:
    """Return every plot for which there is something to show, by file name without suffix.

    Args:
        runs: finished runs.
        curves: rows of each run's learning curve, by its key.
    """
    methods = ordered([run.method for run in runs])
    found: dict[str, Plot] = {}
    compared = [pair for pair in comparisons(methods) if pairs(runs, *pair)]
    if compared:
        words = "; ".join(f"{a} over {b} {_mean(runs, a, b):+.2f}" for a, b in compared)
        draw = partial(differences, runs, compared)
        found["differences"] = Plot("differences", f"Paired differences in mAP50-95 points: {words}", draw)
    for data in tables.data_names(runs):
        name = data.replace(" ", "-")
        for kind, column, label in (("curves", MAP50_95, "mAP50-95"), ("share", SHARE, "share of the gradient")):
            bands = {method: band(curves, data, method, column) for method in methods}
            bands = {method: rows for method, rows in bands.items() if len(rows) > 1}
            if bands:
                title = f"{data}: {label} after each epoch"
                found[f"{kind}-{name}"] = Plot(kind, title, partial(bands_over_epochs, bands, methods, title, label))
        draw = partial(classes, runs, data, methods)
        found[f"classes-{name}"] = Plot("classes", f"{data}: average precision by class and size", draw)
    base = PLAIN if PLAIN in methods else methods[0]
    ratios = {method: cost_ratios(runs, method, base) for method in methods}
    if sum(map(bool, ratios.values())) > 1:
        words = ", ".join(f"{method} {mean(found):.2f}" for method, found in ratios.items() if found)
        alt = f"Seconds of an epoch, times {base}: {words}"
        found["cost"] = Plot("cost", alt, partial(cost, ratios, base))
    return found


def band(curves: Curves, data: str, method: str, column: str) -> list[Band]:
    """Return a learning curve over the seeds, for the epochs that all of them have."""
    of_seeds = [
        {row["epoch"]: row[column] for row in rows if column in row}
        for (name, spelled, _), rows in curves.items()
        if name == data and spelled == method
    ]
    shared = set.intersection(*(set(seed) for seed in of_seeds)) if of_seeds else set()
    values = {epoch: [seed[epoch] for seed in of_seeds] for epoch in sorted(shared)}
    return [Band(epoch, mean(found), min(found), max(found)) for epoch, found in values.items()]


def bands_over_epochs(bands: Mapping[str, list[Band]], methods: Sequence[str], title: str, label: str) -> Figure:
    """Draw the mean of each method over the epochs, with a band from the lowest to the highest seed.

    A long training gets a second panel of its last quarter, since its differences are small beside its beginning.
    """
    last = max(rows[-1].epoch for rows in bands.values())
    long = last >= LONG_EPOCHS
    figure, panels = new_figure(WIDTH, 5.4 if long else 3.2, panels=1 + long)
    for axes, first in zip(panels, (0, 0.75 * last), strict=False):
        for method, rows in bands.items():
            late = [row for row in rows if row.epoch >= first]
            if not late:  # a curve that ends early, since its file was cut short
                continue
            epochs, means, lows, highs = zip(*late, strict=True)
            colour = colours(methods)[method]
            axes.plot(epochs, means, color=colour, label=method, linewidth=1.6)
            axes.fill_between(epochs, lows, highs, color=colour, alpha=0.18, linewidth=0)
        axes.set(ylabel=label)
    panels[0].set(title=title)
    panels[0].set_ylim(bottom=0)
    panels[0].legend()
    panels[-1].set(xlabel="epoch: the last quarter" if long else "epoch")
    return figure


def differences(runs: Sequence[Run], compared: Sequence[tuple[str, str]]) -> Figure:
    """Draw every pair as a dot, and the mean with its interval, a line for each comparison."""
    figure, [axes] = new_figure(WIDTH, 1.3 + 0.62 * len(compared))
    names = tables.data_names(runs)
    shade = colours(ordered([run.method for run in runs]))
    for row, (method, other) in enumerate(compared):
        found = pairs(runs, method, other)
        for index, data in enumerate(names):
            points = [pair.points for pair in found if pair.data == data]
            height = [row + 0.16 + 0.08 * index] * len(points)
            mark = _MARKS[index % len(_MARKS)]
            label = data if row == 0 else None
            axes.scatter(points, height, marker=mark, s=22, color=shade[method], alpha=0.75, label=label, linewidth=0)
        whole = estimate([pair.points for pair in found])
        reach = None if whole.low is None else [[whole.mean - whole.low], [whole.high - whole.mean]]
        axes.errorbar(whole.mean, row - 0.12, xerr=reach, fmt="D", color=shade[method], capsize=4, linewidth=1.8)
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks(range(len(compared)), [f"{method}\nover {other}" for method, other in compared])
    axes.set_ylim(len(compared) - 0.4, -0.6)
    axes.set(title="Paired differences", xlabel="mAP50-95 points: to the right the first method is better")
    if len(names) > 1:
        axes.legend(fontsize=8)
    return figure


def classes(runs: Sequence[Run], data: str, methods: Sequence[str]) -> Figure:
    """Draw the average precision by class and by size: mean over the seeds, with a line from lowest to highest."""
    rows = tables.parts(runs, data)
    shade = colours(methods)
    figure, [axes] = new_figure(WIDTH, 1.3 + 0.11 * len(rows) * (len(methods) + 2))
    step = 0.8 / len(methods)
    for index, method in enumerate(methods):
        label = method
        for row, value in enumerate(rows.values()):
            found = tables.known(tables.of(runs, data, method), value)
            if found:
                height = row - 0.4 + step * (index + 0.5)
                axes.plot([min(found), max(found)], [height, height], color=shade[method], linewidth=1.4)
                axes.plot(mean(found), height, "o", color=shade[method], markersize=5, label=label)
                label = None
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(title=f"{data}: by class and by size of object", xlabel="average precision (IoU 0.5 to 0.95)")
    axes.legend(fontsize=8)
    return figure


def cost(ratios: Mapping[str, list[float]], base: str) -> Figure:
    """Draw how many times the base's an epoch's training takes, with a line from lowest to highest pair."""
    shown = {method: found for method, found in ratios.items() if found}
    figure, [axes] = new_figure(WIDTH, 1.1 + 0.36 * len(shown))
    shade = colours(list(ratios))
    for row, (method, found) in enumerate(shown.items()):
        axes.barh(row, mean(found), height=0.6, color=shade[method], alpha=0.8)
        axes.plot([min(found), max(found)], [row, row], color="#888888", linewidth=1.2)
        axes.annotate(f"{mean(found):.2f}", (max(found), row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), list(shown))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="Cost of an epoch", xlabel=f"seconds of training, times {base}")
    return figure


def _mean(runs: Sequence[Run], method: str, other: str) -> float:
    return mean(pair.points for pair in pairs(runs, method, other))
