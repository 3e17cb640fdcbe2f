"""The state of the streams: for the page, for programs, and for supervisors that restart what is not ready."""

from __future__ import annotations

import threading
import time
from typing import Any

from fgd_yolo.json_message import json_message
from fgd_yolo.streams.address import redact, show_address
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.stream_control import StreamControl
from fgd_yolo.strict_json import finite

_CACHE_S = 0.5  # however many clients ask, the statistics are collected at most twice a second
_PAGE_AGES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")


class StatusReport:
    """The statistics of the pipeline, without secrets.

    Args:
        pipeline: its `stats()` is reported.
        frames: knows when the newest result of each stream arrived.
        control: knows which streams were stopped.
        deadline_s: a stream without a result for longer is not ready.
    """

    def __init__(self, pipeline: Any, frames: LatestFrames, control: StreamControl, deadline_s: float):
        self._pipeline, self._frames, self._control, self._deadline_s = pipeline, frames, control, deadline_s
        self._lock = threading.Lock()
        self._stats: dict[str, Any] = {}
        self._collected_at = float("-inf")

    def stats(self) -> dict[str, Any]:
        """Return all statistics, at most half a second old."""
        with self._lock:
            if time.monotonic() - self._collected_at > _CACHE_S:
                stats = self._pipeline.stats()
                self._frames.retain(stats["streams"])
                self._stats = finite(_without_secrets({**stats, "stopped": self._control.stopped()}))
                self._collected_at = time.monotonic()
            return self._stats

    def invalidate(self) -> None:
        """Collect the statistics anew for the next request: a stream was added or removed."""
        with self._lock:
            self._collected_at = float("-inf")

    def for_page(self) -> dict[str, Any]:
        """Return what the page shows: streams without histograms, which of them can be stopped, and sinks."""
        stats = self.stats()
        streams = {}
        for name, stream in stats["streams"].items():
            ages = {stage: {key: ages[key] for key in _PAGE_AGES} for stage, ages in stream["ages"].items()}
            streams[name] = {**stream, "ages": ages, "can_stop": self._control.can_stop(name)}
        return json_message("status", {"streams": streams, "stopped": stats["stopped"], "sinks": stats["sinks"]})

    def problems(self) -> list[str]:
        """Return why the pipeline is not ready; empty if every stream had a result within the deadline.

        A stopped stream and a file that has ended are no problem.
        """
        stats, result_times = self.stats(), self._frames.result_times()
        streams = stats["streams"]
        problems = [] if streams or stats["stopped"] else ["there is no stream"]
        if stats["state"] != "running" or stats["failure"]:
            problems.append(stats["failure"] or f"the pipeline is {stats['state']}")
        for name, stream in streams.items():
            if stream["state"] == "ENDED":
                continue
            silent_s = time.monotonic() - result_times.get(name, float("-inf"))
            if stream["state"] != "UP":
                reason = f", {stream['reason']}" if stream["reason"] else ""
                problems.append(f"{name}: {stream['state']}{reason}")
            elif name not in result_times:
                problems.append(f"{name}: no frame yet")
            elif silent_s > self._deadline_s:
                problems.append(f"{name}: no frame for {silent_s:.0f} s")
        return problems


def _without_secrets(tree: Any) -> Any:
    """Return plain JSON with secrets redacted in its texts; names of streams were checked when they were added."""
    if isinstance(tree, dict):
        return {
            key: show_address(value) if key == "address" else _without_secrets(value) for key, value in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        return [_without_secrets(value) for value in tree]
    return redact(tree) if isinstance(tree, str) else tree
