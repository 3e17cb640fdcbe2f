"""The closing table of a run, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from fgd_yolo.streams.address import redact
from fgd_yolo.streams.stats import STAGES
from fgd_yolo.text import printable, single_line
from fgd_yolo.timing import format_number

_STAGE_WORDS = dict(zip(STAGES, ("decoded", "inference start", "inference end", "sink done"), strict=True))
_LONGEST = 100
_COUNTS = ("stream", "state", "seen", "inferred", "delivered", "dropped", "in flight", "reconnects", "fps")


def summary(stats: Mapping[str, Any]) -> str:
    """Return what `Pipeline.stats` gave as tables for people: states, frames, drops by cause, ages, sinks.

    Convention:
        A state is the one before the pipeline stopped; below it stands its reason, where there is one.
        `fps` is the mean from the first result to the last, `-` where these are too few or too close. Ages are in
        milliseconds since the frame arrived, as p50/p95/p99 of the last 4096 frames that were inferred. What a stream
        delivered each sink wrote, skipped, as it had nothing to do with it, or dropped.
    """
    streams = [*stats["streams"].items(), *((f"{one['name']} (removed)", one) for one in stats["removed"])]
    streams = [(printable(name), one) for name, one in streams]
    parts = [_table(_COUNTS, [_counts(name, one) for name, one in streams])]
    parts += [f"  {name} {one['state']}: {_short(one['reason'])}" for name, one in streams if one["reason"]]
    parts += [_drops(name, one["dropped"]) for name, one in streams if one["dropped"]]
    stages = ("age in ms, p50/p95/p99", *_STAGE_WORDS.values())
    parts.append(_table(stages, [_ages(name, one["ages"]) for name, one in streams]))
    sinks = [(sink["name"], sink["written"], sink["skipped"], sum(sink["dropped"].values())) for sink in stats["sinks"]]
    if sinks:
        parts.append(_table(("sink", "written", "skipped", "dropped"), sinks))
        parts += [f"  {sink['name']} failed: {_short(sink['failure'])}" for sink in stats["sinks"] if sink["failure"]]
        parts += [_drops(sink["name"], sink["dropped"]) for sink in stats["sinks"] if sink["dropped"]]
    return "\n".join(parts)


def _counts(name: str, one: Mapping[str, Any]) -> Sequence[Any]:
    dropped = sum(one["dropped"].values())
    numbers = one["seen"], one["inferred"], one["delivered"], dropped, one["in_flight"], one["reconnects"]
    return name, one["state"], *numbers, format_number(one["mean_fps"], ".1f")


def _short(reason: str) -> str:
    """Return a reason, which may be a camera's own words of any length, without secrets."""
    return textwrap.shorten(single_line(redact(reason)), _LONGEST, placeholder=" ...")


def _drops(name: str, dropped: Mapping[str, int]) -> str:
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(dropped.items(), key=lambda item: -item[1]))
    return f"  {name} dropped: {causes}"


def _ages(name: str, ages: Mapping[str, Any]) -> Sequence[str]:
    return name, *(_percentiles(ages[stage]) for stage in STAGES)


def _percentiles(ages: Mapping[str, Any]) -> str:
    if not ages["count"]:
        return "-"
    return "/".join(f"{ages[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms"))


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align columns, names to the left and numbers to the right."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells]
    return "\n".join("  ".join(line) for line in lines)
