"""The times of a file's frames, which rise whatever the file says about them."""

from __future__ import annotations

import heapq
import math

DEFAULT_FPS = 25.0
"""The rate of a video or images without a frame rate of their own, as in FFmpeg."""
_RESTART_S = 0.5
_MIN_STEP_S = 0.001
_MAX_WAITING = 32  # no decoder holds back more frames


class RisingTimestamps:
    """Gives every decoded frame a time in seconds from the first one, later than that of the frame before.

    - A frame without a time comes one period after the last: raw H.264 has no times at all.
    - A container that keeps no presentation times (AVI, and videos copied out of one) numbers packets in the order of
      the file. With B-frames the decoder shows them in another order, and the n-th frame shown has the n-th of these
      times. If the times of packets fall, they are presentation times, and each frame's own time is right.
    - A time that falls by more than half a second is a restart, and continues one period after the last.

    Args:
        fps: the video's frame rate, which determines the period.
    """

    def __init__(self, fps: float):
        self._period = 1 / fps
        self._waiting: list[float] = []
        self._newest = -math.inf
        self._reorders = self._trusted = False
        self._shift: float | None = None
        self._last: float | None = None

    def add_packet(self, time: float | None) -> None:
        """Add the time of a packet, in the order of the file and before its frames."""
        if time is None:
            return
        self._trusted = self._trusted or self._newest - _RESTART_S < time < self._newest
        self._newest = time
        heapq.heappush(self._waiting, time)
        if len(self._waiting) > _MAX_WAITING:
            heapq.heappop(self._waiting)

    def next_frame(self, time: float | None, *, is_b: bool = False) -> float:
        """Return the time of the next frame that is shown.

        Args:
            time: its own, according to the decoder.
            is_b: whether it is a B-frame, which may have overtaken others.
        """
        self._reorders = self._reorders or is_b
        time = self._raised(self._reordered(time))
        self._last = time
        return time

    def _reordered(self, time: float | None) -> float | None:
        if time is None:
            return None
        if self._reorders and not self._trusted and self._waiting:
            return heapq.heappop(self._waiting)
        while self._waiting and self._waiting[0] <= time:
            heapq.heappop(self._waiting)
        return time

    def _raised(self, time: float | None) -> float:
        due = 0.0 if self._last is None else self._last + self._period
        if time is None:
            return due
        if self._shift is None or time + self._shift <= due - self._period - _RESTART_S:
            self._shift = due - time
        return due if self._last is None else max(time + self._shift, self._last + _MIN_STEP_S)
