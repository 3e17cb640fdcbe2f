"""The tables of the training benchmark, from what it has recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from fgd_yolo.timing import format_number, ratio

BASES = ("plain", "Ultralytics")
"""Labels of the arms that all others are related to."""
HEAD = (
    "one step",
    "shortest",
    "median",
    *(f"/ {base}" for base in BASES),
    *(f"/ {base}, median" for base in BASES),
    "peak memory",
    f"/ {BASES[-1]}",
)


def markdown(record: Mapping[str, Any]) -> str:
    """Return what was measured, and a Markdown table for each teacher and size.

    Convention:
        The ratio of two arms is that of their shortest times; the median is that of the ratios of each round, in which
        both took their turn.

    Args:
        record: what `benchmarks.train` writes with `--json`.
    """
    parts = [heading(record)]
    for cell in record["cells"]:
        compiled = ", compiled" if cell["compile"] else ""
        rounds = len(cell["arms"][0]["seconds"])
        title = f"{cell['teacher']} to {record['student']}, {cell['imgsz']} px{compiled}, {rounds} rounds"
        parts.append(f"**{title}**")
        parts.append(table(cell["arms"]))
    return "\n\n".join(parts)


def heading(record: Mapping[str, Any]) -> str:
    """Return machine, threads, precision and versions in a sentence each."""
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in record["versions"])
    return (
        f"{record['machine']}; {record['threads']}; {record['precision']}. Batch {record['batch']}; in "
        f"each round the variants take turns. {versions}."
    )


def table(arms: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of one teacher and size."""
    by_label = {arm["arm"]: arm for arm in arms}
    bases = [by_label[base] for base in BASES]
    rows = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *(_row(arm, bases) for arm in arms)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(arm: Mapping[str, Any], bases: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    seconds, memory = arm["seconds"], arm["peak_bytes"]
    shortest = [ratio(min(seconds), min(base["seconds"])) for base in bases]
    medians = [median(own / other for own, other in zip(seconds, base["seconds"], strict=True)) for base in bases]
    return (
        arm["arm"],
        f"{min(seconds) * 1e3:.0f} ms",
        f"{median(seconds) * 1e3:.0f} ms",
        *(format_number(value, ".2f") for value in (*shortest, *medians)),
        format_number(None if memory is None else memory / 2**20, ".0f", " MiB"),
        format_number(ratio(memory, bases[-1]["peak_bytes"]), ".2f"),
    )
