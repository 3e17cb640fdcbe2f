"""The plots of the report: learning curves, paired differences, classes and sizes, cost, gradient ratio.

Each plot is saved as a PNG file for Markdown and inserted as SVG into the HTML page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean
from textwrap import fill
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fgd_yolo.compare import tables
from fgd_yolo.compare.options import ULTRALYTICS
from fgd_yolo.compare.paired_differences import comparisons, cost_ratios, estimate, pairs, sort_methods
from fgd_yolo.compare.results import GRADIENT_RATIO, TASK_MAP50_95, Run
from fgd_yolo.config import DEFAULT_METHOD, PLAIN
from fgd_yolo.files import atomic_path

WIDTH = 5.6
LONG_EPOCHS = 20
_LABEL_CHARACTERS = 54  # of a line below a plot
_MARKERS = "osv^DPX*"
# Legible on white and on black, safe for colour-blind readers (after Okabe and Ito).
_COLOURS = ("#CC79A7", "#B5A300", "#7A6FD0", "#D5452E", "#40B8CC", "#A0724A")
# All other methods get the next of _COLOURS.
_FIXED = {PLAIN: "#888888", ULTRALYTICS: "#3A8FD0", DEFAULT_METHOD: "#009E73", "fitnet": "#D9822B"}
_INK = "#010203"  # placeholder for the page's text colour
_DPI = 150
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


Curves = Mapping[tuple[str, str, int], list[dict[str, float]]]
"""Rows of the learning curve of each run, by the key of the run."""


class Plot(NamedTuple):
    """A plot and its description.

    Args:
        kind: section of the report.
        alt: text alternative of the image.
        draw: function that returns the figure.
    """

    kind: str
    alt: str
    draw: Callable[[], Figure]


class Band(NamedTuple):
    """Mean and range over the seeds after an epoch."""

    epoch: float
    mean: float
    low: float
    high: float


def plan_plots(runs: Sequence[Run], curves: Curves) -> dict[str, Plot]:
    """Return every plot that has data to show, by file name without suffix.

    Args:
        runs: finished runs.
        curves: learning curves of the runs.
    """
    methods = sort_methods([run.method for run in runs])
    map_name = runs[0].task.map_name
    plots: dict[str, Plot] = {}
    compared = [pair for pair in comparisons(methods) if pairs(runs, *pair)]
    if compared:
        words = "; ".join(f"{a} over {b} {_mean_difference(runs, a, b):+.2f}" for a, b in compared)
        draw = partial(draw_differences, runs, compared)
        plots["differences"] = Plot("differences", f"Paired differences in {map_name} points: {words}", draw)
    for data in tables.data_names(runs):
        name = data.replace(" ", "-")
        accuracy = ("curves", TASK_MAP50_95, map_name)
        for kind, column, label in (accuracy, ("gradient-ratio", GRADIENT_RATIO, "gradient ratio")):
            bands = {method: seed_band(curves, data, method, column) for method in methods}
            bands = {method: rows for method, rows in bands.items() if len(rows) > 1}
            if bands:
                title = f"{data}: {label} after each epoch"
                plots[f"{kind}-{name}"] = Plot(kind, title, partial(draw_bands, bands, methods, title, label))
        draw = partial(draw_classes, runs, data, methods)
        alt = f"{data}: average precision by class{' and size' * bool(tables.known_sizes(runs))}"
        plots[f"classes-{name}"] = Plot("classes", alt, draw)
    base = PLAIN if PLAIN in methods else methods[0]
    ratios = {method: cost_ratios(runs, method, base) for method in methods}
    if sum(map(bool, ratios.values())) > 1:
        words = ", ".join(f"{method} {mean(values):.2f}" for method, values in ratios.items() if values)
        alt = f"Training time of an epoch relative to {base}: {words}"
        plots["cost"] = Plot("cost", alt, partial(draw_cost, ratios, base))
    return plots


def seed_band(curves: Curves, data: str, method: str, column: str) -> list[Band]:
    """Return mean and range of a column over the seeds, for the epochs that all seeds have."""
    seeds = [
        {row["epoch"]: row[column] for row in rows if column in row}
        for (run_data, run_method, _), rows in curves.items()
        if run_data == data and run_method == method
    ]
    shared = set.intersection(*(set(seed) for seed in seeds)) if seeds else set()
    by_epoch = {epoch: [seed[epoch] for seed in seeds] for epoch in sorted(shared)}
    return [Band(epoch, mean(values), min(values), max(values)) for epoch, values in by_epoch.items()]


def draw_bands(bands: Mapping[str, list[Band]], methods: Sequence[str], title: str, label: str) -> Figure:
    """Draw the mean of each method over the epochs, with a band from the lowest to the highest seed.

    A long training gets a second panel with its last quarter, where the differences are small.
    """
    last = max(rows[-1].epoch for rows in bands.values())
    long = last >= LONG_EPOCHS
    figure, panels = new_figure(WIDTH, 5.4 if long else 3.2, panels=1 + long)
    for axes, first in zip(panels, (0, 0.75 * last), strict=False):
        for method, rows in bands.items():
            late = [row for row in rows if row.epoch >= first]
            if not late:  # a curve that ends early because its file is incomplete
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


def draw_differences(runs: Sequence[Run], compared: Sequence[tuple[str, str]]) -> Figure:
    """Draw each pair as a dot and the mean with its interval, one row per comparison."""
    figure, [axes] = new_figure(WIDTH, 1.3 + 0.62 * len(compared))
    names = tables.data_names(runs)
    shade = colours(sort_methods([run.method for run in runs]))
    for row, (method, other) in enumerate(compared):
        differences = pairs(runs, method, other)
        for index, data in enumerate(names):
            points = [pair.points for pair in differences if pair.data == data]
            height = [row + 0.16 + 0.08 * index] * len(points)
            marker = _MARKERS[index % len(_MARKERS)]
            label = data if row == 0 else None
            axes.scatter(points, height, marker=marker, s=22, color=shade[method], alpha=0.75, label=label, linewidth=0)
        overall = estimate([pair.points for pair in differences])
        reach = None if overall.low is None else [[overall.mean - overall.low], [overall.high - overall.mean]]
        axes.errorbar(overall.mean, row - 0.12, xerr=reach, fmt="D", color=shade[method], capsize=4, linewidth=1.8)
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks(range(len(compared)), [f"{method}\nover {other}" for method, other in compared])
    axes.set_ylim(len(compared) - 0.4, -0.6)
    label = f"{runs[0].task.map_name} points (right: gain of the first)"
    axes.set(title="Paired differences", xlabel=fill(label, _LABEL_CHARACTERS))
    if len(names) > 1:
        axes.legend(fontsize=8)
    return figure


def draw_classes(runs: Sequence[Run], data: str, methods: Sequence[str]) -> Figure:
    """Draw the average precision by class and by object size: mean over the seeds, with a line for the range."""
    rows = tables.average_precisions(runs, data)
    shade = colours(methods)
    figure, [axes] = new_figure(WIDTH, 1.3 + 0.11 * len(rows) * (len(methods) + 2))
    step = 0.8 / len(methods)
    for index, method in enumerate(methods):
        label = method
        for row, read in enumerate(rows.values()):
            values = tables.known_values(tables.select_runs(runs, data, method), read)
            if values:
                height = row - 0.4 + step * (index + 0.5)
                axes.plot([min(values), max(values)], [height, height], color=shade[method], linewidth=1.4)
                axes.plot(mean(values), height, "o", color=shade[method], markersize=5, label=label)
                label = None
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    sizes, task = tables.known_sizes(runs), runs[0].task
    boxes_alone = "average precision (IoU 0.5 to 0.95)"
    label = boxes_alone if task.metric == "box" else f"{task.map_name} of classes, AP of boxes of object sizes"
    axes.set(title=f"{data}: by class{' and by object size' * bool(sizes)}", xlabel=label)
    axes.legend(fontsize=8)
    return figure


def draw_cost(ratios: Mapping[str, list[float]], base: str) -> Figure:
    """Draw the training time of an epoch relative to the base method, with a line for the range over pairs."""
    known = {method: values for method, values in ratios.items() if values}
    figure, [axes] = new_figure(WIDTH, 1.1 + 0.36 * len(known))
    shade = colours(list(ratios))
    for row, (method, values) in enumerate(known.items()):
        axes.barh(row, mean(values), height=0.6, color=shade[method], alpha=0.8)
        axes.plot([min(values), max(values)], [row, row], color="#888888", linewidth=1.2)
        axes.annotate(f"{mean(values):.2f}", (max(values), row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(known)), list(known))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="Cost of an epoch", xlabel=f"training time relative to {base}")
    return figure


def _mean_difference(runs: Sequence[Run], method: str, other: str) -> float:
    return mean(pair.points for pair in pairs(runs, method, other))


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Return a colour for each method; the standard methods always have the same one."""
    rest = iter(_COLOURS * (len(methods) // len(_COLOURS) + 1))
    return {method: _FIXED.get(method) or next(rest) for method in methods}


@contextmanager
def _style(ink: str, salt: str) -> Iterator[None]:
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    with matplotlib.rc_context({**_STYLE, **dict.fromkeys(inked, ink), "svg.hashsalt": salt}):
        yield


def new_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with panels below each other; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(panels, 1, panel + 1) for panel in range(panels)]


def save_png(draw: Callable[[], Figure], path: Path) -> None:
    """Draw on a white background and write a PNG file."""
    with _style("#222222", path.stem), atomic_path(path) as partial, partial.open("wb") as file:
        draw().savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})


def render_svg(draw: Callable[[], Figure], name: str, alt: str) -> str:
    """Draw in the text colour of the page and return an SVG element.

    Args:
        draw: function that returns a new figure.
        name: name of the plot, which makes the element's identifiers unique on the page.
        alt: text alternative of the image.
    """
    buffer = io.StringIO()
    with _style(_INK, name):
        draw().savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)  # as wide as the page allows
    text = re.sub(r'font: ([\d.]+px)[^;"]*', r"font: \1 system-ui, sans-serif", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_escape(alt)}" ', 1)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
