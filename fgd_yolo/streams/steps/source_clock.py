"""The time by which things move on a stream, whatever the speed of the machine that looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Frame


class SourceClock:
    """Reads the time of one stream's frames, which must come in order: `pts`, or `arrived` where there is none."""

    def __init__(self):
        self._last: tuple[bool, float] | None = None

    def read(self, frame: Frame) -> tuple[float, bool]:
        """Return a frame's time in seconds, and whether the source began anew: times before that do not compare."""
        has_pts, now_s = frame.pts is not None, frame.arrived if frame.pts is None else frame.pts
        before, self._last = self._last, (has_pts, now_s)
        return now_s, before is not None and (has_pts != before[0] or now_s < before[1])
