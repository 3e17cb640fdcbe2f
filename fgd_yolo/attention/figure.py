"""Views of one image as a figure: a row for each level, a column for each thing to see."""

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
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from fgd_yolo.attention.photos import DETECTIONS, Photo
from fgd_yolo.attention.views import Lens, LevelView
from fgd_yolo.files import atomic_path

DPI = 110
_SMALL = [cv2.IMWRITE_PNG_COMPRESSION, 3]
# Inches.
_PANEL, _BAR, _CHART = 2.3, 0.1, 2.7
_GAP, _BAR_GAP, _LABELS, _MARGIN = 0.12, 0.06, 0.5, 0.45
_TOP, _BELOW, _BOTTOM = 0.8, 0.36, 0.66
_HEAT, _SIZES = "inferno", "viridis"
_COLOURS = ("#d9822b", "#1f6fb4", "#3a8f5c")  # told apart by colour-blind readers too
_BOX = "#40e0ff"
_OPACITY = 0.66
_GREYS = (-160, 340)  # where black and white would be: the photo stays grey, so that it hardly tints the colours


def draw_views(photo: Photo, views: Sequence[LevelView], title: str, note: str) -> Figure:
    """Draw one image.

    Columns: spatial attention of the teacher and of each student on one colour scale a row; masks M and S; and, where
    they can be compared, the gap of each channel's attention.

    Args:
        photo: what was looked at.
        views: of its levels, finest first; at least one.
        title: first line.
        note: what must be known to read the figure; it is wrapped.
    """
    # The user's own matplotlib settings neither change nor show.
    with rc_context({**_plain_settings(), "font.size": 9, "axes.titlesize": 10}):
        figure, rows = _layout(views)
        place = _MARGIN / figure.get_figwidth(), 1 - 0.2 / figure.get_figheight()
        # A file's name may hold a dollar sign.
        figure.text(*place, title, fontsize=13, weight="bold", va="top", parse_math=False)
        for number, (view, axes) in enumerate(zip(views, rows, strict=True)):
            _draw_level(view, axes, photo, first=number == 0)
        _explain(figure, photo, note)
        return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as an image, (H, W, 3) RGB uint8."""
    canvas = FigureCanvasAgg(figure)
    with rc_context(_plain_settings()), catch_warnings():
        filterwarnings("ignore", "Glyph")  # a file's name may hold letters that the font lacks
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) RGB whole or not at all.

    Raises:
        FGDError: it cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(cv2.imencode(".png", image[..., ::-1], _SMALL)[1].tobytes())


def explanation(lens: Lens) -> str:
    """Return what the symbols of a figure mean.

    Args:
        lens: how attention was taken.
    """
    taken = "" if lens.scale == "paper" else ", channels standardised, at most 10"
    return (
        f"$A_S$, $A_C$: attention of a cell, of a channel, 1 for the average one (T = {lens.temperature:g}{taken}); "
        "a row's maps share one colour scale; gap: mean $|A_S$ student − $A_S$ teacher$|$, 0 for equal attention."
    )


def _plain_settings() -> dict:
    """Everything but the backend, which a running program may have chosen."""
    return {key: value for key, value in rcParamsDefault.items() if not key.startswith(("backend", "interactive"))}


def _layout(views: Sequence[LevelView]) -> tuple[Figure, list[dict[str, Axes]]]:
    """Make the figure and its empty axes, by name, a mapping for each level. Inches, so that no panel is distorted."""
    names = ["teacher", *views[0].students]
    widths = {name: (_PANEL, _GAP) for name in names}
    widths[names[-1]] = (_PANEL, _BAR_GAP)
    widths |= {"scale": (_BAR, _LABELS), "M": (_PANEL, _GAP), "S": (_PANEL, _BAR_GAP)}
    widths["S scale"] = (_BAR, 2 * _LABELS)
    if any(view.channel_gaps for view in views):
        widths["channels"] = (_CHART, _GAP)
    width = _MARGIN + sum(map(sum, widths.values()))
    height = _TOP + len(views) * (_PANEL + _BELOW) + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    rows = []
    for number in range(len(views)):
        bottom = height - _TOP - number * (_PANEL + _BELOW) - _PANEL
        left, axes = _MARGIN, {}
        for name, (wide, space) in widths.items():
            raised = _GAP if name == "channels" else 0  # it has numbers below it
            place = (left / width, (bottom + raised) / height, wide / width, (_PANEL - raised) / height)
            axes[name] = figure.add_axes(place, label=name)
            left += wide + space
        rows.append(axes)
    return figure, rows


def _draw_level(view: LevelView, axes: dict[str, Axes], photo: Photo, first: bool) -> None:
    maps = {"teacher": view.teacher, **view.students}
    low, high = np.percentile(np.stack(list(maps.values())), (1, 99))
    titles = {name: f"{name}, $A_S$" for name in maps}
    titles |= {"M": "mask M (boxes)", "S": "mask S (weight of a cell)", "channels": "$|A_C$ student − $A_C$ teacher$|$"}
    for name, values in maps.items():
        heat = _overlay(axes[name], photo, values, _HEAT, Normalize(low, high))
        if name in view.students:
            axes[name].set_xlabel(f"gap to the teacher {view.spatial_gap(name):.3f}")
    _bar(axes["scale"], heat, extend="both")
    _overlay(axes["M"], photo, view.inside.astype(float), "gray", Normalize(0, 1))
    axes["M"].set_xlabel(f"{view.inside.mean():.0%} of the cells")
    bounds = view.size_weight.min(), view.size_weight.max()
    # Equal weights, as in an image without boxes, need a range too; matplotlib's would not begin at them.
    scale = LogNorm(bounds[0], bounds[1] if bounds[1] > bounds[0] else 1.1 * bounds[0])
    _bar(axes["S scale"], _overlay(axes["S"], photo, view.size_weight, _SIZES, scale), cells=True)
    rows, columns = view.teacher.shape
    axes["teacher"].set_ylabel(f"stride {view.stride}", fontsize=11, weight="bold")
    axes["teacher"].set_xlabel(f"{columns} × {rows} cells")
    if "channels" in axes:
        _draw_channels(axes["channels"], view)
    if first:
        for name in titles.keys() & axes.keys():
            axes[name].set_title(titles[name])


def _overlay(axes: Axes, photo: Photo, values: np.ndarray, colours: str, scale: Normalize):
    """Lay a level's values over the photo in grey, with the boxes on top."""
    height, width = photo.canvas.shape[:2]
    place = {"extent": (0, width, height, 0)}
    axes.imshow(cv2.cvtColor(photo.canvas, cv2.COLOR_BGR2GRAY), cmap="gray", vmin=_GREYS[0], vmax=_GREYS[1], **place)
    drawn = axes.imshow(values, cmap=colours, norm=scale, alpha=_OPACITY, interpolation="nearest", **place)
    style = "--" if photo.boxes_from == DETECTIONS else "-"
    for x, y, wide, tall in (photo.boxes.numpy() * [width, height, width, height]).tolist():
        place_box = (x - wide / 2, y - tall / 2), wide, tall
        axes.add_patch(Rectangle(*place_box, fill=False, edgecolor=_BOX, linewidth=0.9, linestyle=style))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return drawn


def _bar(axes: Axes, drawn, extend: str = "neither", cells: bool = False) -> None:
    """Draw the colour scale of a panel; `cells` labels weights as one part in so many cells."""
    bar = axes.figure.colorbar(drawn, cax=axes, extend=extend, alpha=1)
    bar.outline.set_visible(False)
    if cells:
        low, high = drawn.norm.vmin, drawn.norm.vmax
        bar.set_ticks(np.geomspace(low, high, 3), minor=False)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda weight, _: f"1/{1 / weight:.0f}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(length=2, labelsize=8)


def _draw_channels(axes: Axes, view: LevelView) -> None:
    """Each student's gaps, largest first: a curve nearer to the floor is nearer to the teacher."""
    if not view.channel_gaps:
        axes.set_axis_off()
        return
    for (name, gaps), colour in zip(view.channel_gaps.items(), _COLOURS, strict=False):
        ranked = np.sort(gaps)[::-1]
        axes.fill_between(np.arange(len(gaps)), ranked, step="mid", color=colour, alpha=0.18, linewidth=0)
        axes.step(np.arange(len(gaps)), ranked, where="mid", color=colour, label=f"{name}, mean {gaps.mean():.3f}")
    axes.set(xlim=(0, len(gaps) - 1), ylim=(0, None))
    axes.set_xlabel(f"{len(gaps)} channels, each curve largest first", labelpad=2)
    axes.tick_params(length=2, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, handlelength=1.2)


def _explain(figure: Figure, photo: Photo, note: str) -> None:
    """The legend of the boxes and the note, below the panels."""
    width, height = figure.get_size_inches()
    if len(photo.boxes):
        style = "--" if photo.boxes_from == DETECTIONS else "-"
        boxes = Patch(facecolor="none", edgecolor=_BOX, linestyle=style, label=f"boxes: {photo.boxes_from}")
    else:
        boxes = Patch(facecolor="none", edgecolor="none", label=f"boxes: none ({photo.boxes_from})")
    place = (_MARGIN / width, 0.44 / height)
    figure.legend(handles=[boxes], loc="lower left", bbox_to_anchor=place, frameon=False, borderpad=0, borderaxespad=0)
    figure.text(_MARGIN / width, 0.36 / height, fill(note, int(width * 15)), fontsize=8.5, va="top", color="#444444")
