"""How plots look, and how one plot becomes a picture for Markdown and an inline drawing for the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fgd_yolo.files import atomic_path

# Legible on white and on black, and told apart by colour-blind readers (after Okabe and Ito).
_COLOURS = ("#CC79A7", "#B5A300", "#7A6FD0", "#D5452E", "#40B8CC", "#A0724A")
_FIXED = {"plain": "#888888", "ultralytics": "#3A8FD0", "fitnet": "#D9822B", "fgd": "#009E73"}
_INK = "#010203"  # stands for the page's own text colour
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


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Return a colour for each method, the usual ones always the same."""
    rest = iter(_COLOURS * (len(methods) // len(_COLOURS) + 1))
    return {method: _FIXED.get(method) or next(rest) for method in methods}


@contextmanager
def _style(ink: str, salt: str) -> Iterator[None]:
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    with matplotlib.rc_context({**_STYLE, **dict.fromkeys(inked, ink), "svg.hashsalt": salt}):
        yield


def new_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure, in inches, that no window will ever show, with panels one below the other."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(panels, 1, panel + 1) for panel in range(panels)]


def save_png(draw: Callable[[], Figure], path: Path) -> None:
    """Draw on white and write the picture."""
    with _style("#222222", path.stem), atomic_path(path) as partial, partial.open("wb") as file:
        draw().savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})


def svg(draw: Callable[[], Figure], name: str, alt: str) -> str:
    """Draw in the text colour of the page and return an SVG element.

    Args:
        draw: gives a new figure.
        name: sets the element's identifiers apart from those of other drawings on the page.
        alt: what the drawing shows, in words.
    """
    buffer = io.StringIO()
    with _style(_INK, name):
        draw().savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)  # as wide as the page lets it
    text = re.sub(r'font: ([\d.]+px)[^;"]*', r"font: \1 system-ui, sans-serif", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_escaped(alt)}" ', 1)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
