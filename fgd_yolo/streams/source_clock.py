"""The time of a stream's source, which does not depend on the speed of the machine that processes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Frame


class SourceClock:
    """Reads the time of one stream's frames, given in order: `Frame.pts`, or `Frame.arrived` if there is none."""

    def __init__(self):
        self._last: tuple[bool, float] | None = None

    def read(self, frame: Frame) -> tuple[float, bool]:
        """Return a frame's time in seconds, and whether the source restarted: earlier times are not comparable."""
        has_pts, now_s = frame.pts is not None, frame.arrived if frame.pts is None else frame.pts
        previous, self._last = self._last, (has_pts, now_s)
        return now_s, previous is not None and (has_pts != previous[0] or now_s < previous[1])
