"""How far a student's attention is from its teacher's, in numbers: a table, a CSV and a JSON file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from fgd_yolo.attention.views import LevelView
from fgd_yolo.files import atomic_path
from fgd_yolo.strict_json import to_json


class Gap(NamedTuple):
    """Mean absolute differences from the teacher's attention, of one image on one level; None where unknown."""

    image: str
    stride: int
    spatial_before: float
    spatial_after: float
    channel_before: float | None
    channel_after: float | None


def gaps_of(image: str, views: Sequence[LevelView], before: str, after: str) -> list[Gap]:
    """Return the gaps of one image, one for each level.

    Args:
        image: name of its file.
        views: of its levels.
        before: name of the student's first state in the views.
        after: of its second.
    """
    return [
        Gap(
            image,
            view.stride,
            *(view.spatial_gap(name) for name in (before, after)),
            *(view.channel_gap(name) for name in (before, after)),
        )
        for view in views
    ]


def mean_gaps(gaps: Sequence[Gap]) -> list[Gap]:
    """Return the mean over images, one for each stride, finest first."""
    means = []
    for stride in sorted({gap.stride for gap in gaps}):
        same = [gap for gap in gaps if gap.stride == stride]
        means.append(Gap("mean", stride, *(_mean(values) for values in list(zip(*same, strict=True))[2:])))
    return means


def table(means: Sequence[Gap], images: int) -> str:
    """Return the means as lines of text, with the change from before to after."""
    head = f"attention gap to the teacher, mean of {images} image{'s' * (images != 1)} (0: the same attention)"
    names = "".join(f"{f'{kind} {state}':>17}" for kind in ("spatial", "channel") for state in ("before", "after"))
    lines = [head, f"{'stride':>8}{names}{'spatial change':>17}{'channel change':>17}"]
    for gap in means:
        numbers = "".join(f"{'-' if value is None else f'{value:.3f}':>17}" for value in gap[2:])
        changes = _change(gap.spatial_before, gap.spatial_after), _change(gap.channel_before, gap.channel_after)
        lines.append(f"{gap.stride:>8}{numbers}" + "".join(f"{change:>17}" for change in changes))
    return "\n".join(lines)


def write_gaps(folder: Path, gaps: Sequence[Gap], facts: dict[str, Any]) -> list[Path]:
    """Write `gaps.csv`, a row for each image and level, and `gaps.json`, the means and what was looked at.

    Args:
        folder: to write to.
        gaps: of every image and level.
        facts: plain values that the JSON file holds besides.

    Returns:
        Both files.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Gap._fields)
    writer.writerows(gaps)
    means = [{key: value for key, value in gap._asdict().items() if key != "image"} for gap in mean_gaps(gaps)]
    contents = {"gaps.csv": text.getvalue(), "gaps.json": to_json({**facts, "levels": means}, indent=2) + "\n"}
    for name, content in contents.items():
        with atomic_path(folder / name) as path:
            path.write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else fmean(values)


def _change(before: float | None, after: float | None) -> str:
    return f"{after / before - 1:+.0%}" if before and after is not None else "-"
