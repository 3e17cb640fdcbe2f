"""The counters of a stream: frames by what became of them, frame ages at each stage, and its state."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fgd_yolo.timing import rate

STATES = ("CONNECTING", "UP", "DOWN", "ENDED")
STAGES = ("decoded", "infer_start", "infer_end", "sink_done")
# Upper bounds in seconds of the histogram's bins; a last bin holds everything above.
BOUNDS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
_SAMPLES = 4096
_WINDOW_S = 5.0


class StreamStats:
    """The counters of one stream. Any thread may count; a snapshot shows a single instant.

    Convention:
        seen = inferred + dropped + in_flight at every instant. `delivered` counts the inferred frames whose results
        were handed to the sinks; each sink counts what it drops. Ages are in seconds since the frame arrived.
    Args:
        name: the stream's name.
        on_state: called after each change of the state, with no lock held.
    """

    def __init__(self, name: str, on_state: Callable[[], object] = lambda: None):
        self.name = name
        self._on_state = on_state
        self._lock = threading.Lock()
        self._seen = self._inferred = self._delivered = self._in_flight = self._reconnects = 0
        self._dropped: Counter[str] = Counter()
        self._state, self._reason = "CONNECTING", ""
        self._ages = {stage: Ages() for stage in STAGES}
        self._ends: deque[float] = deque(maxlen=1024)
        self._first_end: float | None = None

    @property
    def state(self) -> str:
        """CONNECTING, UP, DOWN or ENDED."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the stream is in this state, as text; empty if all is well."""
        return self._reason

    def count_seen(self) -> None:
        """Count a frame that came from the source; it is in flight until it is inferred or dropped."""
        with self._lock:
            self._seen += 1
            self._in_flight += 1

    def count_dropped(self, cause: str, frames: int = 1) -> None:
        """Count frames in flight that were dropped; the cause is a few words, such as `newer frame`."""
        if frames:
            with self._lock:
                self._dropped[cause] += frames
                self._in_flight -= frames

    def count_bad_frame(self) -> None:
        """Count a frame that cannot be decoded as seen and dropped."""
        with self._lock:
            self._seen += 1
            self._dropped["bad frame"] += 1

    def count_inferred(self, ages_s: Mapping[str, float], infer_end: float) -> None:
        """Count a frame that went through the detector.

        Args:
            ages_s: its age at `decoded`, `infer_start` and `infer_end`.
            infer_end: the monotonic time at which its inference ended.
        """
        with self._lock:
            self._inferred += 1
            self._in_flight -= 1
            for stage, age_s in ages_s.items():
                self._ages[stage].add(age_s)
            self._ends.append(infer_end)
            if self._first_end is None:
                self._first_end = infer_end

    def count_delivered(self) -> None:
        """Count a result that was handed to the sinks."""
        with self._lock:
            self._delivered += 1

    def count_reconnect(self) -> None:
        """Count a source that was lost and is back."""
        with self._lock:
            self._reconnects += 1

    def count_sink_done(self, arrived: float) -> None:
        """Count a result that a sink has just finished with, by the time at which its frame arrived."""
        age_s = time.monotonic() - arrived
        with self._lock:
            self._ages["sink_done"].add(age_s)

    def set_state(self, state: str, reason: str = "") -> None:
        """Change the state. The reason is shown to users and must hold no password."""
        if state not in STATES:
            raise ValueError(f"state must be one of {STATES}, got {state!r}")
        with self._lock:
            self._state, self._reason = state, reason
        self._on_state()

    def snapshot(self, now: float | None = None) -> dict[str, Any]:
        """Return all counters at one instant as plain JSON.

        `fps` is the rate of the last five seconds, `mean_fps` that since the first result. A rate is None if the
        results are too few or too close together.

        Args:
            now: the monotonic time at which `fps` ends, for tests.
        """
        with self._lock:
            now = time.monotonic() if now is None else now
            ages = {stage: ages.copy() for stage, ages in self._ages.items()}
            counts = {
                "state": self._state,
                "reason": self._reason,
                "seen": self._seen,
                "inferred": self._inferred,
                "delivered": self._delivered,
                "dropped": dict(self._dropped),
                "in_flight": self._in_flight,
                "reconnects": self._reconnects,
                "fps": _rounded(self._fps(now)),
                "mean_fps": _rounded(self._mean_fps()),
            }
        # Percentiles take a while, and no worker should wait for them.
        return {**counts, "ages": {stage: copied.snapshot() for stage, copied in ages.items()}}

    def _fps(self, now: float) -> float | None:
        """Return the frames inferred per second over the last seconds, or since the first one."""
        recent = sum(end > now - _WINDOW_S for end in self._ends)
        if not recent:
            return 0.0
        # If more ended than `_ends` holds, or the stream is younger than the window, the window starts at the oldest.
        started = self._ends[0] if recent == len(self._ends) else now - _WINDOW_S
        return rate(recent, now - started) if recent > 1 else recent / _WINDOW_S

    def _mean_fps(self) -> float | None:
        if self._inferred < 2:
            return None
        return rate(self._inferred - 1, max(self._ends) - self._first_end)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


class Ages:
    """Frame ages in seconds: the last few thousand for percentiles, all of them in a histogram. Not locked."""

    def __init__(self) -> None:
        self._samples = np.zeros(_SAMPLES, np.float32)
        self._bins = [0] * (len(BOUNDS_S) + 1)
        self._count, self._sum_s, self._max_s = 0, 0.0, 0.0

    def add(self, age_s: float) -> None:
        """Add one age."""
        self._samples[self._count % _SAMPLES] = age_s
        self._bins[bisect_left(BOUNDS_S, age_s)] += 1
        self._count += 1
        self._sum_s += age_s
        self._max_s = max(self._max_s, age_s)

    def copy(self) -> Ages:
        """Return a copy, which no longer changes."""
        copied = Ages()
        copied._samples, copied._bins = self._samples.copy(), list(self._bins)
        copied._count, copied._sum_s, copied._max_s = self._count, self._sum_s, self._max_s
        return copied

    def snapshot(self) -> dict[str, Any]:
        """Return percentiles of the last 4096 ages in milliseconds (None without any), maximum and histogram of all.

        `histogram` has the upper bounds of its bins in seconds, and the number of ages in each; the last bin is open.
        """
        recent = self._samples[: min(self._count, _SAMPLES)]
        points = np.percentile(recent, (50, 95, 99)) * 1000 if len(recent) else (None,) * 3
        rounded = [None if point is None else round(float(point), 2) for point in points]
        return {
            **dict(zip(("p50_ms", "p95_ms", "p99_ms"), rounded, strict=True)),
            "max_ms": round(self._max_s * 1000, 2) if self._count else None,
            "count": self._count,
            "sum_s": round(self._sum_s, 6),
            "histogram": {"bounds_s": list(BOUNDS_S), "counts": list(self._bins)},
        }
