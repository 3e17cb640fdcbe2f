"""Mean differences between the attention of student and teacher: a table, a CSV file and a JSON file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from fgd_yolo.attention.level_attention import LevelAttention
from fgd_yolo.files import atomic_path
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import counted

CSV_NAME, JSON_NAME = "differences.csv", "differences.json"


class Difference(NamedTuple):
    """Mean absolute differences from the teacher's attention, of one image at one level; None if not comparable."""

    image: str
    stride: int
    spatial_before: float
    spatial_after: float
    channel_before: float | None
    channel_after: float | None


def image_differences(image: str, levels: Sequence[LevelAttention], before: str, after: str) -> list[Difference]:
    """Return the differences of one image, one row per level.

    Args:
        image: file name.
        levels: attention at each level.
        before: name of the student before training in `levels`.
        after: name of the student after training.
    """
    return [
        Difference(
            image,
            level.stride,
            *(level.spatial_difference(name) for name in (before, after)),
            *(level.channel_difference(name) for name in (before, after)),
        )
        for level in levels
    ]


def mean_differences(differences: Sequence[Difference]) -> list[Difference]:
    """Return the mean over images, one row per stride, finest first."""
    means = []
    for stride in sorted({row.stride for row in differences}):
        rows = [row for row in differences if row.stride == stride]
        means.append(Difference("mean", stride, *(_mean(values) for values in list(zip(*rows, strict=True))[2:])))
    return means


def format_table(means: Sequence[Difference], images: int) -> str:
    """Return the means as lines of text, with the change from before to after."""
    head = f"attention difference from the teacher, mean of {counted(images, 'image')} (0: equal attention)"
    names = "".join(f"{f'{kind} {state}':>17}" for kind in ("spatial", "channel") for state in ("before", "after"))
    lines = [head, f"{'stride':>8}{names}{'spatial change':>17}{'channel change':>17}"]
    for row in means:
        numbers = "".join(f"{'-' if value is None else f'{value:.3f}':>17}" for value in row[2:])
        changes = _change(row.spatial_before, row.spatial_after), _change(row.channel_before, row.channel_after)
        lines.append(f"{row.stride:>8}{numbers}" + "".join(f"{change:>17}" for change in changes))
    return "\n".join(lines)


def write_differences(folder: Path, differences: Sequence[Difference], facts: dict[str, Any]) -> list[Path]:
    """Write `differences.csv`, one row per image and level, and `differences.json`, the means with `facts`.

    Args:
        folder: output folder.
        differences: differences of every image and level.
        facts: further plain values for the JSON file.

    Returns:
        Both files.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Difference._fields)
    writer.writerows(differences)
    means = [
        {key: value for key, value in row._asdict().items() if key != "image"} for row in mean_differences(differences)
    ]
    contents = {CSV_NAME: text.getvalue(), JSON_NAME: to_json({**facts, "levels": means}, indent=2) + "\n"}
    for name, content in contents.items():
        with atomic_path(folder / name) as path:
            path.write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else fmean(values)


def _change(before: float | None, after: float | None) -> str:
    return f"{after / before - 1:+.0%}" if before and after is not None else "-"
