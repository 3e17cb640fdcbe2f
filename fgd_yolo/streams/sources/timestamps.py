"""The times of a file's pictures, which rise whatever the file says about them."""

from __future__ import annotations

import heapq
import math

USUAL_FPS = 25.0
"""Of what has no frame rate of its own, as FFmpeg takes it."""
_RESTART_S = 0.5
_LEAST_S = 0.001
_MOST_WAITING = 32  # no decoder holds so many pictures back


class RisingTimes:
    """Gives every decoded picture a time in seconds from the first, later than that of the picture before.

    - A picture without a time comes one period after the last: raw H.264 has no times at all.
    - A container that keeps no presentation times (AVI, and what was copied out of one) numbers packets as they lie
      in the file; with B-frames the decoder shows them in another order, and the n-th picture shown has the n-th of
      these times. Where times of packets fall, they are presentation times, and each picture's own is right.
    - A time that falls by more than half a second is a new beginning, and goes on one period after the last.

    Args:
        fps: of the video, for the period.
    """

    def __init__(self, fps: float):
        self._period = 1 / fps
        self._waiting: list[float] = []
        self._newest = -math.inf
        self._reorders = self._trusted = False
        self._shift: float | None = None
        self._last: float | None = None

    def feed(self, time: float | None) -> None:
        """Take the time of a packet, in the order of the file and before its pictures."""
        if time is None:
            return
        self._trusted = self._trusted or self._newest - _RESTART_S < time < self._newest
        self._newest = time
        heapq.heappush(self._waiting, time)
        if len(self._waiting) > _MOST_WAITING:
            heapq.heappop(self._waiting)

    def next(self, time: float | None, *, is_b: bool = False) -> float:
        """Return the time of the next picture that is shown.

        Args:
            time: its own, as the decoder says.
            is_b: it is a B-picture, which may have overtaken others.
        """
        self._reorders = self._reorders or is_b
        time = self._risen(self._place(time))
        self._last = time
        return time

    def _place(self, time: float | None) -> float | None:
        if time is None:
            return None
        if self._reorders and not self._trusted and self._waiting:
            return heapq.heappop(self._waiting)
        while self._waiting and self._waiting[0] <= time:
            heapq.heappop(self._waiting)
        return time

    def _risen(self, time: float | None) -> float:
        due = 0.0 if self._last is None else self._last + self._period
        if time is None:
            return due
        if self._shift is None or time + self._shift <= due - self._period - _RESTART_S:
            self._shift = due - time
        return due if self._last is None else max(time + self._shift, self._last + _LEAST_S)
