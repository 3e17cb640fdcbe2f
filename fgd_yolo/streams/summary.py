"""The statistics of a pipeline as text: the closing table, and the status line while it runs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fgd_yolo.streams.address import redact
from fgd_yolo.streams.stats import STAGES
from fgd_yolo.text import printable, single_line
from fgd_yolo.timing import format_number

_STAGE_TITLES = dict(zip(STAGES, ("decoded", "inference start", "inference end", "sink done"), strict=True))
_MAX_REASON = 100
_COLUMNS = ("stream", "state", "seen", "inferred", "delivered", "dropped", "in flight", "reconnects", "fps")


def closing_table(stats: Mapping[str, Any]) -> str:
    """Format `Pipeline.stats` as tables: states, frames, drops by cause, ages, sinks.

    Convention:
        A state is that before the pipeline stopped, with its reason below the table. `fps` is the mean from the first
        result to the last, `-` if there are too few or they are too close together. Ages are in milliseconds since the
        frame arrived, as p50/p95/p99 of the last 4096 inferred frames. Each delivered result was written, skipped or
        dropped by every sink; a sink skips results that it has no use for.
    """
    streams = [*stats["streams"].items(), *((f"{stream['name']} (removed)", stream) for stream in stats["removed"])]
    streams = [(printable(name), stream) for name, stream in streams]
    parts = [_table(_COLUMNS, [_counts(name, stream) for name, stream in streams])]
    parts += [f"  {name} {stream['state']}: {_short(stream['reason'])}" for name, stream in streams if stream["reason"]]
    parts += [_drops(name, stream["dropped"]) for name, stream in streams if stream["dropped"]]
    stages = ("age in ms, p50/p95/p99", *_STAGE_TITLES.values())
    parts.append(_table(stages, [_ages(name, stream["ages"]) for name, stream in streams]))
    sinks = [(sink["name"], sink["written"], sink["skipped"], sum(sink["dropped"].values())) for sink in stats["sinks"]]
    if sinks:
        parts.append(_table(("sink", "written", "skipped", "dropped"), sinks))
        parts += [f"  {sink['name']} failed: {_short(sink['failure'])}" for sink in stats["sinks"] if sink["failure"]]
        parts += [_drops(sink["name"], sink["dropped"]) for sink in stats["sinks"] if sink["dropped"]]
        parts += [_kept(sink) for sink in stats["sinks"] if sink.get("kept")]
        stopped = [sink for sink in stats["sinks"] if sink.get("stopped") and not sink["failure"]]
        parts += [f"  {sink['name']} stopped: {_short(sink['stopped'])}" for sink in stopped]
    return "\n".join(parts)


def status_line(stats: Mapping[str, Any]) -> str:
    """Format `Pipeline.stats` as one line: streams up, total frame rate, worst age after the inference, drops."""
    streams = stats["streams"].values()
    up = sum(stream["state"] == "UP" for stream in streams)
    fps = sum(stream["fps"] or 0 for stream in streams)
    ages = [stream["ages"]["infer_end"]["p95_ms"] for stream in streams]
    worst = max((age for age in ages if age is not None), default=0)
    dropped = sum(sum(stream["dropped"].values()) for stream in streams)
    return f"{up} of {len(streams)} streams up, {fps:.1f} fps, p95 age {worst:.0f} ms, {dropped} dropped"


def _counts(name: str, stream: Mapping[str, Any]) -> Sequence[Any]:
    frames = stream["seen"], stream["inferred"], stream["delivered"], sum(stream["dropped"].values())
    fps = format_number(stream["mean_fps"], ".1f")
    return name, stream["state"], *frames, stream["in_flight"], stream["reconnects"], fps


def _short(reason: str) -> str:
    """Return a reason, which may be a camera's message of any length, shortened and without secrets."""
    return textwrap.shorten(single_line(redact(reason)), _MAX_REASON, placeholder=" ...")


def _drops(name: str, dropped: Mapping[str, int]) -> str:
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(dropped.items(), key=lambda item: -item[1]))
    return f"  {name} dropped: {causes}"


def _ages(name: str, ages: Mapping[str, Any]) -> Sequence[str]:
    return name, *(_percentiles(ages[stage]) for stage in STAGES)


def _kept(sink: Mapping[str, Any]) -> str:
    total: Counter[str] = Counter()
    for reasons in sink["kept"].values():
        total.update(reasons)
    return f"  {sink['name']} kept: {', '.join(f'{count} {reason}' for reason, count in total.most_common())}"


def _percentiles(ages: Mapping[str, Any]) -> str:
    if not ages["count"]:
        return "-"
    return "/".join(f"{ages[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms"))


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align the columns: names to the left, numbers to the right."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells]
    return "\n".join("  ".join(line) for line in lines)
