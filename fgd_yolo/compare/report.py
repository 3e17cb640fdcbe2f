"""The report of a folder of runs: Markdown with pictures, and one page that holds everything."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fgd_yolo.compare.canvas import save_png, svg
from fgd_yolo.compare.context import read_context
from fgd_yolo.compare.curves import curve_file, read_results
from fgd_yolo.compare.plots import Plot, plots
from fgd_yolo.compare.results_csv import RUNS, read_runs
from fgd_yolo.compare.sections import build
from fgd_yolo.files import atomic_path

PAGE = "report.html"
MARKDOWN = "report.md"
PLOTS = "plots"


def write(output: Path) -> list[str]:
    """Write the report of the finished runs in a folder, if there are any, and return its verdict lines.

    Args:
        output: with `runs.csv`, `curves/` and `compare.json`.

    Raises:
        FGDError: `runs.csv` cannot be read, or the report cannot be written.
    """
    runs = read_runs(output / RUNS)
    if not runs:
        return []
    curves = {run.key: read_results(curve_file(output, run)) for run in runs}
    drawn = plots(runs, curves)

    def of_kind(kind: str) -> dict[str, str]:
        return {name: plot.alt for name, plot in drawn.items() if plot.kind == kind}

    report = build(runs, read_context(output), of_kind)
    _draw(drawn, output / PLOTS)
    with atomic_path(output / MARKDOWN) as path:
        path.write_text(_rendered("report.md", report=report, plots=PLOTS), encoding="utf-8")
    inline = {name: Markup(svg(plot.draw, name, plot.alt)) for name, plot in drawn.items()}
    with atomic_path(output / PAGE) as path:
        path.write_text(_rendered("report.html", report=report, inline=inline), encoding="utf-8")
    return [line for line, _ in report.verdicts]


def _draw(drawn: dict[str, Plot], folder: Path) -> None:
    """Write the pictures, in the place of all that were there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, plot in drawn.items():
        save_png(plot.draw, folder / f"{name}.png")


def _rendered(template: str, **values) -> str:
    text = files("fgd_yolo.compare").joinpath("templates", template).read_text(encoding="utf-8")
    environment = Environment(
        autoescape=template.endswith(".html"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text).render(**values)
