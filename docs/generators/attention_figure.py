"""Columns of the figure that `fgd-yolo visualize --run RUN` draws of the first val image; all of it is too wide."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from fgd_yolo.attention.figure import draw_figure
from fgd_yolo.attention.labelled_images import find_images
from fgd_yolo.attention.models import load_models
from fgd_yolo.ultralytics import find_device
from fgd_yolo.workflow.visualize import (
    VisualizeOptions,
    compare_image,
    find_alignments,
    initial_student,
    run_options,
)

ATTENTION = {
    "teacher": "teacher, $A_S$",
    "before": "student before, $A_S$",
    "after": "student after, $A_S$",
    "scale": "",
}
MASKS = {"M": "mask M (boxes)", "S": "mask S (cell weights)", "S scale": ""}
_DPI, _MARGIN = 140, 0.1  # inches


def cut_attention(run: Path, columns: dict[str, str]) -> bytes:
    """Return a PNG of some columns of the figure, for the first val image of a finished distillation.

    Args:
        run: run folder.
        columns: titles of the columns that stay, by the names that `draw_figure` gives their axes.
    """
    options = run_options(run, VisualizeOptions()).validated()
    before = initial_student(options.recipe, options.after)
    models = load_models(options.teacher, before, options.after, find_device("cpu"))
    aligns, _ = find_alignments(models.levels, options.teacher, options.after)
    path = find_images(list(options.sources))[0]
    image, levels = compare_image(path, models, aligns, options.imgsz, options.attention_settings)
    return _cut(draw_figure(image, levels, title="", note=""), columns, [level.stride for level in levels])


def _cut(figure: Figure, columns: dict[str, str], strides: list[int]) -> bytes:
    """Return a PNG of the panels in some columns, without what is around them."""
    left = next(iter(columns))
    kept = [axes for axes in figure.axes if axes.get_label() in columns]
    for axes in set(figure.axes) - set(kept):
        axes.set_visible(False)
    for axes in kept:
        if axes.get_title():
            axes.set_title(columns[axes.get_label()])
    for axes, stride in zip([axes for axes in kept if axes.get_label() == left], strides, strict=True):
        axes.set_ylabel(f"stride {stride}", fontsize=11, weight="bold")
    file = io.BytesIO()
    figure.draw_without_rendering()  # places the labels
    place = Bbox.union([axes.get_tightbbox() for axes in kept]).transformed(figure.dpi_scale_trans.inverted())
    figure.savefig(file, format="png", dpi=_DPI, bbox_inches=place.padded(_MARGIN))
    return file.getvalue()
