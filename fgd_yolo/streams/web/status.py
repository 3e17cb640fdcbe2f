"""How the streams are, for the page, for programs and for whoever restarts what is not ready."""

from __future__ import annotations

import threading
import time
from typing import Any

from fgd_yolo.streams.address import redact, show_address
from fgd_yolo.streams.web.latest_frames import LatestFrames
from fgd_yolo.streams.web.stream_control import StreamControl
from fgd_yolo.strict_json import finite

_FRESH_S = 0.5  # however many ask, the numbers are gathered twice a second


class StatusReport:
    """What the pipeline says of itself, without secrets.

    Args:
        pipeline: what is looked at, through its `stats()`.
        frames: know when the newest result of each stream came.
        control: knows which streams were stopped.
        deadline_s: a stream without a result for longer is not ready.
    """

    def __init__(self, pipeline: Any, frames: LatestFrames, control: StreamControl, deadline_s: float):
        self._pipeline, self._frames, self._control, self._deadline_s = pipeline, frames, control, deadline_s
        self._lock = threading.Lock()
        self._stats: dict[str, Any] = {}
        self._gathered = float("-inf")

    def stats(self) -> dict[str, Any]:
        """Return all numbers, at most half a second old."""
        with self._lock:
            if time.monotonic() - self._gathered > _FRESH_S:
                stats = self._pipeline.stats()
                self._frames.keep(stats["streams"])
                self._stats = finite(_shown({**stats, "stopped": self._control.stopped()}))
                self._gathered = time.monotonic()
            return self._stats

    def outdate(self) -> None:
        """Gather anew at the next question: a stream came or went."""
        with self._lock:
            self._gathered = float("-inf")

    def brief(self) -> dict[str, Any]:
        """Return what the page shows: the numbers without histograms, and which streams can be stopped."""
        stats = self.stats()
        streams = {}
        for name, stream in stats["streams"].items():
            ages = {stage: {key: ages[key] for key in _SHOWN_AGES} for stage, ages in stream["ages"].items()}
            streams[name] = {**stream, "ages": ages, "can_stop": self._control.can_stop(name)}
        return {"streams": streams, "stopped": stats["stopped"]}

    def complaints(self) -> list[str]:
        """Return why the whole is not ready; empty if every stream had a frame within the deadline.

        A stream that was stopped, or a file that came to its end, did what it was told.
        """
        stats, heard = self.stats(), self._frames.heard()
        streams = stats["streams"]
        complaints = [] if streams or stats["stopped"] else ["there is no stream"]
        if stats["state"] != "running" or stats["failure"]:
            complaints.append(stats["failure"] or f"the pipeline is {stats['state']}")
        for name, stream in streams.items():
            if stream["state"] == "ENDED":
                continue
            silent_s = time.monotonic() - heard.get(name, float("-inf"))
            if stream["state"] != "UP":
                reason = f", {stream['reason']}" if stream["reason"] else ""
                complaints.append(f"{name}: {stream['state']}{reason}")
            elif name not in heard:
                complaints.append(f"{name}: no frame yet")
            elif silent_s > self._deadline_s:
                complaints.append(f"{name}: no frame for {silent_s:.0f} s")
        return complaints


_SHOWN_AGES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")


def _shown(tree: Any) -> Any:
    """Return plain JSON without the secrets in its texts; streams' names were checked where they came in."""
    if isinstance(tree, dict):
        return {key: show_address(value) if key == "address" else _shown(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_shown(value) for value in tree]
    return redact(tree) if isinstance(tree, str) else tree
