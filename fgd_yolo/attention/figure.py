"""Attention maps, masks and channel differences of one image as a figure, one row per level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from warnings import catch_warnings, filterwarnings

import cv2
import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from matplotlib.ticker import FuncFormatter, NullLocator

from fgd_yolo.attention.labelled_images import DETECTIONS, LabelledImage
from fgd_yolo.attention.level_attention import LevelAttention
from fgd_yolo.files import atomic_path
from fgd_yolo.methods.attention_maps import AttentionSettings
from fgd_yolo.runtime.images import as_bgr

DPI = 110
_SMALL = [cv2.IMWRITE_PNG_COMPRESSION, 3]
# Inches.
_PANEL, _BAR, _CHART = 2.3, 0.1, 2.7
_GAP, _BAR_GAP, _LABELS, _MARGIN = 0.12, 0.06, 0.5, 0.45
_TOP, _BELOW, _BOTTOM = 0.8, 0.36, 0.66
_HEAT, _SIZES = "inferno", "viridis"
_COLOURS = ("#d9822b", "#1f6fb4", "#3a8f5c")  # safe for colour-blind readers
_OUTLINE = "#40e0ff"
_OPACITY = 0.66
_GREYS = (-160, 340)  # grey levels of black and white: low contrast, so that the image hardly tints the colours


def draw_figure(image: LabelledImage, levels: Sequence[LevelAttention], title: str, note: str) -> Figure:
    """Draw the figure of one image.

    Columns: spatial attention of the teacher and of each student, on one colour scale per row; masks M and S; and the
    difference in attention of each channel, if the channels can be compared.

    Args:
        image: the image with its objects.
        levels: attention at each level, finest first; at least one.
        title: title above the panels.
        note: text below the panels; it is wrapped.
    """
    # The user's matplotlib settings have no effect and stay unchanged.
    with rc_context({**_plain_settings(), "font.size": 9, "axes.titlesize": 10}):
        figure, rows = _layout(levels)
        place = _MARGIN / figure.get_figwidth(), 1 - 0.2 / figure.get_figheight()
        # A file name may contain a dollar sign.
        figure.text(*place, title, fontsize=13, weight="bold", va="top", parse_math=False)
        for number, (level, axes) in enumerate(zip(levels, rows, strict=True)):
            _draw_level(level, axes, image, first=number == 0)
        _draw_legend(figure, image, note)
        return figure


def render(figure: Figure) -> np.ndarray:
    """Render a figure as an image, (H, W, 3) RGB uint8."""
    canvas = FigureCanvasAgg(figure)
    with rc_context(_plain_settings()), catch_warnings():
        filterwarnings("ignore", "Glyph")  # a file name may contain characters that the font lacks
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) RGB as a PNG file, atomically.

    Raises:
        FGDError: it cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(cv2.imencode(".png", image[..., ::-1], _SMALL)[1].tobytes())


def explain_symbols(settings: AttentionSettings) -> str:
    """Return a sentence that explains the symbols in a figure.

    Args:
        settings: settings of the attention that is drawn.
    """
    standardised = "" if settings.scale == "paper" else ", channels standardised, at most 10"
    return (
        f"$A_S$, $A_C$: attention of a cell, of a channel, mean 1 (T = {settings.temperature:g}{standardised}); maps "
        "in a row share one colour scale; difference: mean $|A_S$ student − $A_S$ teacher$|$, 0 for equal attention."
    )


def _plain_settings() -> dict:
    """Return matplotlib's defaults without the backend, which the running program may have chosen."""
    return {key: value for key, value in rcParamsDefault.items() if not key.startswith(("backend", "interactive"))}


def _layout(levels: Sequence[LevelAttention]) -> tuple[Figure, list[dict[str, Axes]]]:
    """Create the figure and its empty axes by name, one mapping per level. Sizes in inches keep panels undistorted."""
    names = ["teacher", *levels[0].students]
    widths = {name: (_PANEL, _GAP) for name in names}
    widths[names[-1]] = (_PANEL, _BAR_GAP)
    widths |= {"scale": (_BAR, _LABELS), "M": (_PANEL, _GAP), "S": (_PANEL, _BAR_GAP)}
    widths["S scale"] = (_BAR, 2 * _LABELS)
    if any(level.channel_differences for level in levels):
        widths["channels"] = (_CHART, _GAP)
    width = _MARGIN + sum(map(sum, widths.values()))
    height = _TOP + len(levels) * (_PANEL + _BELOW) + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    rows = []
    for number in range(len(levels)):
        bottom = height - _TOP - number * (_PANEL + _BELOW) - _PANEL
        left, axes = _MARGIN, {}
        for name, (wide, space) in widths.items():
            raised = _GAP if name == "channels" else 0  # space for the tick labels
            place = (left / width, (bottom + raised) / height, wide / width, (_PANEL - raised) / height)
            axes[name] = figure.add_axes(place, label=name)
            left += wide + space
        rows.append(axes)
    return figure, rows


def _draw_level(level: LevelAttention, axes: dict[str, Axes], image: LabelledImage, first: bool) -> None:
    maps = {"teacher": level.teacher, **level.students}
    low, high = np.percentile(np.stack(list(maps.values())), (1, 99))
    titles = {name: f"{name}, $A_S$" for name in maps}
    titles |= {
        "M": f"mask M ({image.drawn})",
        "S": "mask S (cell weights)",
        "channels": "$|A_C$ student − $A_C$ teacher$|$",
    }
    for name, values in maps.items():
        heat = _overlay(axes[name], image, values, _HEAT, Normalize(low, high))
        if name in level.students:
            axes[name].set_xlabel(f"difference from the teacher {level.spatial_difference(name):.3f}")
    _bar(axes["scale"], heat, extend="both")
    _overlay(axes["M"], image, level.object_mask.astype(float), "gray", Normalize(0, 1))
    axes["M"].set_xlabel(f"{level.object_mask.mean():.0%} of the cells")
    bounds = level.scale_mask.min(), level.scale_mask.max()
    # If all weights are equal, as in an image without boxes, a scale still needs a range above them.
    scale = LogNorm(bounds[0], bounds[1] if bounds[1] > bounds[0] else 1.1 * bounds[0])
    _bar(axes["S scale"], _overlay(axes["S"], image, level.scale_mask, _SIZES, scale), cells=True)
    rows, columns = level.teacher.shape
    axes["teacher"].set_ylabel(f"stride {level.stride}", fontsize=11, weight="bold")
    axes["teacher"].set_xlabel(f"{columns} × {rows} cells")
    if "channels" in axes:
        _draw_channels(axes["channels"], level)
    if first:
        for name in titles.keys() & axes.keys():
            axes[name].set_title(titles[name])


def _overlay(axes: Axes, image: LabelledImage, values: np.ndarray, colours: str, scale: Normalize):
    """Draw the values of a level over the grey image, with the outlines of the objects on top."""
    height, width = image.canvas.shape[:2]
    place = {"extent": (0, width, height, 0)}
    grey = cv2.cvtColor(as_bgr(image.canvas), cv2.COLOR_BGR2GRAY)
    axes.imshow(grey, cmap="gray", vmin=_GREYS[0], vmax=_GREYS[1], **place)
    drawn = axes.imshow(values, cmap=colours, norm=scale, alpha=_OPACITY, interpolation="nearest", **place)
    style = "--" if image.source == DETECTIONS else "-"
    for corners in image.objects.corners():
        outline = corners.numpy() * [width, height]
        axes.add_patch(Polygon(outline, fill=False, edgecolor=_OUTLINE, linewidth=0.9, linestyle=style))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return drawn


def _bar(axes: Axes, drawn, extend: str = "neither", cells: bool = False) -> None:
    """Draw the colour scale of a panel; `cells` labels weights as 1/(number of cells)."""
    bar = axes.figure.colorbar(drawn, cax=axes, extend=extend, alpha=1)
    bar.outline.set_visible(False)
    if cells:
        low, high = drawn.norm.vmin, drawn.norm.vmax
        bar.set_ticks(np.geomspace(low, high, 3), minor=False)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda weight, _: f"1/{1 / weight:.0f}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(length=2, labelsize=8)


def _draw_channels(axes: Axes, level: LevelAttention) -> None:
    """Draw each student's channel differences in descending order; a lower curve is closer to the teacher."""
    if not level.channel_differences:
        axes.set_axis_off()
        return
    for (name, differences), colour in zip(level.channel_differences.items(), _COLOURS, strict=False):
        ranked = np.sort(differences)[::-1]
        axes.fill_between(np.arange(len(differences)), ranked, step="mid", color=colour, alpha=0.18, linewidth=0)
        axes.step(
            np.arange(len(differences)),
            ranked,
            where="mid",
            color=colour,
            label=f"{name}, mean {differences.mean():.3f}",
        )
    axes.set(xlim=(0, len(differences) - 1), ylim=(0, None))
    axes.set_xlabel(f"{len(differences)} channels, sorted by difference", labelpad=2)
    axes.tick_params(length=2, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, handlelength=1.2)


def _draw_legend(figure: Figure, image: LabelledImage, note: str) -> None:
    """Draw the legend of the outlines and the note below the panels."""
    width, height = figure.get_size_inches()
    if len(image.objects.boxes):
        style = "--" if image.source == DETECTIONS else "-"
        objects = Patch(facecolor="none", edgecolor=_OUTLINE, linestyle=style, label=f"{image.drawn}: {image.source}")
    else:
        objects = Patch(facecolor="none", edgecolor="none", label=f"{image.drawn}: none ({image.source})")
    place = (_MARGIN / width, 0.44 / height)
    figure.legend(
        handles=[objects], loc="lower left", bbox_to_anchor=place, frameon=False, borderpad=0, borderaxespad=0
    )
    figure.text(_MARGIN / width, 0.36 / height, fill(note, int(width * 15)), fontsize=8.5, va="top", color="#444444")
