"""Who is inside an area, who came and went, and who crossed a line in which direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.steps.source_clock import SourceClock
from fgd_yolo.text import printable

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_GONE_S = 1.0  # an object that was not seen for so long has no place any more
_MOST_POINTS = 100
Shape = np.ndarray


@dataclass(frozen=True)
class Layout:
    """The zones, polygons of three points or more, and the counting lines, two points, of one stream, by name."""

    zones: Mapping[str, Shape]
    lines: Mapping[str, Shape]


def parse_layout(config: Mapping[str, Any]) -> Layout:
    """Read `{"zones": {NAME: [[x, y], ...]}, "lines": {NAME: [[x, y], [x, y]]}}`; either may be missing.

    Convention:
        x to the right, y down, from the upper left corner. A shape is in fractions of the picture if none of its
        numbers is above 1, and in pixels otherwise.
    Raises:
        UsageError: something else stands there.
    """
    if not isinstance(config, Mapping) or set(config) - {"zones", "lines"}:
        raise UsageError("zones are given as {'zones': {NAME: points}, 'lines': {NAME: points}}")
    layout = Layout(_shapes(config, "zones", 3, _MOST_POINTS), _shapes(config, "lines", 2, 2))
    for name, points in layout.lines.items():
        if np.array_equal(points[0], points[1]):
            raise UsageError(f"line '{name}' has no length: give it two different points")
    return layout


def check_name(name: str, what: str) -> None:
    """Refuse a name of a stream, zone or line that would steer the terminals and logs where it is shown.

    Raises:
        UsageError: it is empty or has characters that cannot be printed.
    """
    if not name.strip() or printable(name) != name:
        raise UsageError(f"{what} name '{name}' is empty or has characters that cannot be printed: choose another")


def to_pixels(points: Shape, shape: tuple[int, int]) -> Shape:
    """Return the points of a zone or line (n, 2) in pixels of a picture of that height and width."""
    return points * (shape[1], shape[0]) if points.max() <= 1 else points


def feet(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Return the point (n, 2) that stands for each box: the middle of its lower edge, where things meet the ground."""
    return np.stack([(boxes_xyxy[:, 0] + boxes_xyxy[:, 2]) / 2, boxes_xyxy[:, 3]], axis=1)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Return which points (n, 2) lie in a polygon (k, 2) or on its edge, (n,) bool."""
    outline = polygon.astype(np.float32)
    return np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in points], bool)


def crossing(before: np.ndarray, after: np.ndarray, line: np.ndarray) -> int:
    """Return how a move from one point (2,) to another crosses a line (2, 2).

    Convention:
        Seen on the picture by one who stands at the line's first point and looks at its second: 1 is from left to
        right, -1 from right to left, 0 is no crossing. A point on the line counts as right of it, so that who stops on
        the line is counted once.
    """
    start, end = line
    was_right, is_right = _side(start, end, before) >= 0, _side(start, end, after) >= 0
    if was_right == is_right or _side(before, after, start) * _side(before, after, end) > 0:
        return 0
    return 1 if is_right else -1


class ZoneCounter:
    """Counts for streams that have a layout, by track id; results of one stream must come in order.

    Sets a result's `zones`, plain JSON: `zones` by name with points (pixels), inside, entered and left; `lines` by name
    with points, to_right and to_left; `events`, what happened on this frame: `{"event", "zone" or "line", "id"}` with
    the events entered, left, lost, to_right and to_left. Totals count from the start of the run.

    Convention:
        `inside` counts every object; the rest needs track ids. An object that is first seen in a zone has entered it.
        One that is not seen for a second of the source's time, as in `SourceClock`, is lost where it was last: it
        counts as having left. After a gap, or where the source begins anew, everybody is forgotten, without events.
    Args:
        layouts: by the stream's name; None is for all others. A stream without one gets no `zones`.
    """

    def __init__(self, layouts: Mapping[str | None, Layout]):
        self._layouts = layouts
        self._counters: dict[str, StreamCounter] = {}
        self._clocks: dict[str, SourceClock] = {}

    def __call__(self, result: Result) -> None:
        """Set the result's `zones`."""
        frame, found = result.frame, result.detections
        layout = self._layouts.get(frame.stream, self._layouts.get(None))
        if layout is None:
            return
        counter = self._counters.setdefault(frame.stream, StreamCounter(layout))
        now_s, begun_anew = self._clocks.setdefault(frame.stream, SourceClock()).read(frame)
        if begun_anew:
            counter.forget()
        result.zones = counter.update(feet(found.boxes), result.ids, found.shape, now_s)

    def gap(self, stream: str, reason: str) -> None:
        """Forget where everybody was."""
        if stream in self._counters:
            self._counters[stream].forget()


@dataclass
class StreamCounter:
    """The totals of one stream, and where its tracks were last."""

    layout: Layout
    _last: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)
    _members: dict[str, set[int]] = field(default_factory=dict)
    _totals: dict[tuple[str, str], int] = field(default_factory=dict)

    def update(
        self, points: np.ndarray, ids: np.ndarray | None, shape: tuple[int, int], now_s: float
    ) -> dict[str, Any]:
        """Count one frame's objects, located at points (n, 2) in pixels; return `Result.zones`, see `ZoneCounter`."""
        tracks = {} if ids is None else {int(track): row for row, track in enumerate(ids) if track >= 0}
        events: list[dict[str, Any]] = []
        zones, lines = {}, {}
        gone = {track for track, (_, seen_s) in self._last.items() if now_s - seen_s > _GONE_S and track not in tracks}
        for name, corners in self.layout.zones.items():
            outline = to_pixels(corners, shape)
            within = inside(points, outline)
            self._move(name, {track: bool(within[row]) for track, row in tracks.items()}, gone, events)
            totals = {key: self._totals.get((name, key), 0) for key in ("entered", "left")}
            zones[name] = {"points": outline.tolist(), "inside": int(within.sum()), **totals}
        for name, ends in self.layout.lines.items():
            line = to_pixels(ends, shape)
            self._cross(name, line, {track: points[row] for track, row in tracks.items()}, events)
            totals = {key: self._totals.get((name, key), 0) for key in ("to_right", "to_left")}
            lines[name] = {"points": line.tolist(), **totals}
        for track in gone:
            del self._last[track]
        self._last.update({track: (points[row], now_s) for track, row in tracks.items()})
        return {"zones": zones, "lines": lines, "events": events}

    def forget(self) -> None:
        """Forget where everybody was; the totals stay."""
        self._last.clear()
        self._members.clear()

    def _move(self, zone: str, within: dict[int, bool], gone: set[int], events: list) -> None:
        members = self._members.setdefault(zone, set())
        changes = [("entered", track) for track, is_in in within.items() if is_in and track not in members]
        changes += [("left", track) for track, is_in in within.items() if not is_in and track in members]
        changes += [("lost", track) for track in sorted(gone & members)]
        for event, track in changes:
            (members.add if event == "entered" else members.discard)(track)
            total = zone, "entered" if event == "entered" else "left"
            self._totals[total] = self._totals.get(total, 0) + 1
            events.append({"event": event, "zone": zone, "id": track})

    def _cross(self, name: str, line: np.ndarray, places: dict[int, np.ndarray], events: list) -> None:
        for track, point in places.items():
            direction = crossing(self._last[track][0], point, line) if track in self._last else 0
            if direction:
                event = "to_right" if direction > 0 else "to_left"
                self._totals[name, event] = self._totals.get((name, event), 0) + 1
                events.append({"event": event, "line": name, "id": track})


def _shapes(config: Mapping[str, Any], kind: str, least: int, most: int) -> dict[str, Shape]:
    """Read the zones or the lines."""
    named = config.get(kind) or {}
    if not isinstance(named, Mapping):
        raise UsageError(f"{kind} need names: {kind}: {{NAME: [[x, y], ...]}}")
    for name in named:
        check_name(str(name), kind[:-1])
    return {str(name): _points(points, f"{kind[:-1]} '{name}'", least, most) for name, points in named.items()}


def _points(points: Any, what: str, least: int, most: int) -> Shape:
    many = f"{least} points" if least == most else f"{least} points or more"
    rule = f"{what} needs {many}, each [x, y] with numbers from 0 on: fractions up to 1, or pixels"
    if not isinstance(points, Sequence) or not least <= len(points) <= most:
        raise UsageError(rule)
    for point in points:
        if not isinstance(point, Sequence) or len(point) != 2 or not all(map(_is_place, point)):
            raise UsageError(rule)
    return np.array(points, np.float64)


def _is_place(number: Any) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and 0 <= number < 1e6


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> float:
    """Above 0 where the point is right of the way from start to end, as seen on a picture (y down)."""
    along, away = end - start, point - start
    return float(along[0] * away[1] - along[1] * away[0])
