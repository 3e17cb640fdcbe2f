"""The curves of a distilled run: accuracy against the teacher, losses and gradient ratios."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fgd_yolo.compare.plots import colours
from fgd_yolo.compare.results import MAP50_95, read_curve
from fgd_yolo.config import DEFAULT_METHOD
from fgd_yolo.errors import FGDError
from fgd_yolo.workflow.run_folder import STUDENT, STUDENT_STAGE, read_result

_DETECTION = {"box_loss": "#0072B2", "cls_loss": "#D9822B", "dfl_loss": "#7A6FD0"}
_FEATURES = {"fg_loss": "#009E73", "bg_loss": "#40B8CC", "attn_loss": "#B5A300", "rel_loss": "#A0724A"}
_HEADS = {"head_cls": "#CC79A7", "head_box": "#D5452E", "head_dfine": "#E6A817"}
_RATIOS = {"features/ratio": "#009E73", "heads/ratio": "#D5452E"}
_FEW = 8  # epochs, that are drawn as dots too
Rows = list[dict[str, float]]


def draw_training_curves(run: Path) -> Figure:
    """Draw four panels over the epochs of a finished run of `fgd-yolo distill`.

    Raises:
        FGDError: the run is not finished, or had no teacher.
    """
    result = read_result(run)
    rows = read_curve(run / STUDENT_STAGE / "results.csv")
    if not (result and result["teachers"] and rows):
        raise FGDError(f"{run} is not a finished distillation: finish it, or name another run")
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    (accuracy, detection), (distillation, ratios) = figure.subplots(2, 2)
    _draw_accuracy(accuracy, rows, result)
    _draw_lines(detection, rows, {f"train/{name}": shade for name, shade in _DETECTION.items()})
    _draw_lines(detection, rows, {f"val/{name}": shade for name, shade in _DETECTION.items()}, linestyle="--")
    detection.set(title="Detection losses (dashed: val)", ylim=(0, None))
    _draw_lines(distillation, rows, {f"train/{name}": shade for name, shade in {**_FEATURES, **_HEADS}.items()})
    distillation.set(title="Distillation losses, weighted", yscale="log")
    _draw_lines(ratios, rows, _RATIOS)
    ratios.set(title="Gradient ratio: distillation / detection loss", ylim=(0, None))
    for axes, columns in ((accuracy, 1), (detection, 1), (distillation, 2), (ratios, 1)):
        axes.set_xlabel("epoch")
        axes.set_xlim(0, rows[-1]["epoch"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(ncol=columns, fontsize=8.5)
    return figure


def _draw_accuracy(axes: Axes, rows: Rows, result: dict) -> None:
    """Draw the student's accuracy after each epoch, and that of each teacher as a line."""
    student = result[STUDENT]
    shade = colours([DEFAULT_METHOD])[DEFAULT_METHOD]
    for teacher in result["teachers"]:
        label = f"{teacher['name']}: {teacher['map50_95']:.3f}"
        axes.axhline(teacher["map50_95"], color="#444444", linestyle=":", label=label)
    label = f"{student['name']}: {student['map50_95']:.3f}"
    draw_line(axes, rows, MAP50_95, color=shade, label=label, linewidth=1.8)
    axes.set(title="mAP50-95 on the val images", ylim=(0, None))


def _draw_lines(axes: Axes, rows: Rows, shades: dict[str, str], linestyle: str = "-") -> None:
    """Draw columns of the rows, each with its colour; those of the val images have no label of their own."""
    for column, shade in shades.items():
        label = None if column.startswith("val/") else column.removeprefix("train/")
        draw_line(axes, rows, column, color=shade, label=label, linewidth=1.5, linestyle=linestyle)


def draw_line(axes: Axes, rows: Rows, column: str, **style) -> None:
    """Draw the epochs that have a value: a term that ended is 0, as are all metrics of an epoch without validation."""
    validated = column.startswith(("val/", "metrics/"))
    known = [row for row in rows if (row["val/box_loss"] if validated else row.get(column))]
    points = [(row["epoch"], row[column]) for row in known if column in row]
    if points:
        axes.plot(*zip(*points, strict=True), marker="o" if len(points) < _FEW else None, **style)
