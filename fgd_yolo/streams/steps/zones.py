"""Counts of objects inside zones, and of tracks that enter and leave zones or cross lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.source_clock import SourceClock
from fgd_yolo.streams.steps.tracking import LOST_AFTER_S
from fgd_yolo.text import printable

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result
    from fgd_yolo.streams.stream_options import RunOptions

_MAX_POINTS = 100
Shape = np.ndarray


@dataclass(frozen=True)
class ZoneLayout:
    """The zones (polygons of three or more points) and counting lines (two points) of one stream, by name."""

    zones: Mapping[str, Shape]
    lines: Mapping[str, Shape]


def parse_layout(config: Mapping[str, Any]) -> ZoneLayout:
    """Parse `{"zones": {NAME: [[x, y], ...]}, "lines": {NAME: [[x, y], [x, y]]}}`; either key may be missing.

    Convention:
        x to the right, y down, from the upper left corner. A shape is in fractions of the frame if none of its
        coordinates is above 1, and in pixels otherwise.
    Raises:
        UsageError: the layout has another form.
    """
    if not isinstance(config, Mapping) or set(config) - {"zones", "lines"}:
        raise UsageError("the layout must be {'zones': {NAME: points}, 'lines': {NAME: points}}")
    layout = ZoneLayout(_shapes(config, "zones", 3, _MAX_POINTS), _shapes(config, "lines", 2, 2))
    for name, points in layout.lines.items():
        if np.array_equal(points[0], points[1]):
            raise UsageError(f"line '{name}' has no length: give two different points")
    return layout


def parse_layouts(options: RunOptions) -> dict[str, ZoneLayout]:
    """Return the layout of each stream that has zones or lines, by name.

    Raises:
        UsageError: a layout has another form, see `parse_layout`.
    """
    return {
        name: parse_layout({"zones": stream.zones, "lines": stream.lines})
        for name, stream in options.streams.items()
        if stream.zones or stream.lines
    }


def to_pixels(points: Shape, shape: tuple[int, int]) -> Shape:
    """Return the points of a zone or line (n, 2) in pixels of a frame of that height and width."""
    return points * (shape[1], shape[0]) if points.max() <= 1 else points


def bottom_centers(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Return the anchor of each box (n, 2): the middle of its lower edge, where an object stands on the ground."""
    return np.stack([(boxes_xyxy[:, 0] + boxes_xyxy[:, 2]) / 2, boxes_xyxy[:, 3]], axis=1)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Return which points (n, 2) are inside a polygon (k, 2) or on its edge, (n,) bool."""
    outline = polygon.astype(np.float32)
    return np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in points], bool)


def crossing(before: np.ndarray, after: np.ndarray, line: np.ndarray) -> int:
    """Return how a movement from one point (2,) to another crosses a line (2, 2).

    Convention:
        1 is from left to right, -1 from right to left, 0 is no crossing, as seen from the line's first point looking
        at its second. A point on the line counts as right of it, so that an object that stops there is counted once.
    """
    start, end = line
    was_right, is_right = _side(start, end, before) >= 0, _side(start, end, after) >= 0
    if was_right == is_right or _side(before, after, start) * _side(before, after, end) > 0:
        return 0
    return 1 if is_right else -1


class ZoneCounter:
    """A step that counts objects in zones and at lines. Results of one stream must be given in order.

    It sets `Result.zones` to plain JSON: `zones` by name with points (pixels), inside, entered and left; `lines` by
    name with points, to_right and to_left; `events` of this frame, each with `event` (entered, left, lost, to_right or
    to_left), `zone` or `line`, and `tracker_id`. Totals count from the start of the run.

    Convention:
        `inside` counts every object; everything else needs track ids. A track that is first detected inside a zone has
        entered it. A track that is not detected for a second of the source's time, see `SourceClock`, is lost and
        counts as having left the zones it was in. After a gap or a restart of the source all tracks are forgotten,
        without events.
    Args:
        layouts: the layout of each stream, by name; that of None is for all other streams. Without a layout `zones`
            stays None.
    """

    def __init__(self, layouts: Mapping[str | None, ZoneLayout]):
        self._layouts = layouts
        self._counters: dict[str, StreamCounter] = {}
        self._clocks: dict[str, SourceClock] = {}

    @classmethod
    def from_options(cls, options: RunOptions, names: Mapping[int, str]) -> ZoneCounter | None:
        """Create the counter of the zones and lines in the configuration file."""
        layouts = parse_layouts(options)
        return cls(layouts) if layouts else None

    def __call__(self, result: Result) -> None:
        """Set `Result.zones`."""
        frame, detections = result.frame, result.detections
        layout = self._layouts.get(frame.stream, self._layouts.get(None))
        if layout is None:
            return
        counter = self._counters.setdefault(frame.stream, StreamCounter(layout))
        now_s, restarted = self._clocks.setdefault(frame.stream, SourceClock()).read(frame)
        if restarted:
            counter.forget()
        anchors = bottom_centers(detections.xyxy)
        result.zones = counter.update(anchors, detections.tracker_id, detections.shape, now_s)

    def gap(self, stream: str, reason: str) -> None:
        """Forget the positions of all tracks of a stream."""
        if stream in self._counters:
            self._counters[stream].forget()


@dataclass
class StreamCounter:
    """The totals of one stream, and the latest position of each track."""

    layout: ZoneLayout
    _positions: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)
    _members: dict[str, set[int]] = field(default_factory=dict)
    _totals: dict[tuple[str, str], int] = field(default_factory=dict)

    def update(
        self, points: np.ndarray, tracker_id: np.ndarray | None, shape: tuple[int, int], now_s: float
    ) -> dict[str, Any]:
        """Count one frame's objects, located at points (n, 2) in pixels; return `Result.zones`, see `ZoneCounter`."""
        ids = [] if tracker_id is None else tracker_id.tolist()
        tracks = {track: row for row, track in enumerate(ids) if track >= 0}
        events: list[dict[str, Any]] = []
        zones, lines = {}, {}
        overdue = {track for track, (_, seen_s) in self._positions.items() if now_s - seen_s > LOST_AFTER_S}
        lost = overdue.difference(tracks)
        for name, polygon in self.layout.zones.items():
            outline = to_pixels(polygon, shape)
            is_inside = inside(points, outline)
            self._count_zone(name, {track: bool(is_inside[row]) for track, row in tracks.items()}, lost, events)
            totals = {key: self._totals.get((name, key), 0) for key in ("entered", "left")}
            zones[name] = {"points": outline.tolist(), "inside": int(is_inside.sum()), **totals}
        for name, ends in self.layout.lines.items():
            line = to_pixels(ends, shape)
            self._count_line(name, line, {track: points[row] for track, row in tracks.items()}, events)
            totals = {key: self._totals.get((name, key), 0) for key in ("to_right", "to_left")}
            lines[name] = {"points": line.tolist(), **totals}
        for track in lost:
            del self._positions[track]
        self._positions.update({track: (points[row], now_s) for track, row in tracks.items()})
        return {"zones": zones, "lines": lines, "events": events}

    def forget(self) -> None:
        """Forget the positions of all tracks; the totals remain."""
        self._positions.clear()
        self._members.clear()

    def _count_zone(self, zone: str, is_inside: dict[int, bool], lost: set[int], events: list) -> None:
        members = self._members.setdefault(zone, set())
        changes = [("entered", track) for track, now_inside in is_inside.items() if now_inside and track not in members]
        changes += [("left", track) for track, now_inside in is_inside.items() if not now_inside and track in members]
        changes += [("lost", track) for track in sorted(lost & members)]
        for event, track in changes:
            (members.add if event == "entered" else members.discard)(track)
            key = zone, "entered" if event == "entered" else "left"
            self._totals[key] = self._totals.get(key, 0) + 1
            events.append({"event": event, "zone": zone, "tracker_id": track})

    def _count_line(self, name: str, line: np.ndarray, points: dict[int, np.ndarray], events: list) -> None:
        for track, point in points.items():
            direction = crossing(self._positions[track][0], point, line) if track in self._positions else 0
            if direction:
                event = "to_right" if direction > 0 else "to_left"
                self._totals[name, event] = self._totals.get((name, event), 0) + 1
                events.append({"event": event, "line": name, "tracker_id": track})


def _shapes(config: Mapping[str, Any], kind: str, minimum: int, maximum: int) -> dict[str, Shape]:
    """Parse the zones or the lines."""
    named = config.get(kind) or {}
    if not isinstance(named, Mapping):
        raise UsageError(f"{kind} must have names: {kind}: {{NAME: [[x, y], ...]}}")
    for name in named:
        _check_name(str(name), kind[:-1])
    return {str(name): _points(points, f"{kind[:-1]} '{name}'", minimum, maximum) for name, points in named.items()}


def _check_name(name: str, what: str) -> None:
    """Refuse a name that could control the terminals and logs in which it is shown."""
    if not name.strip() or printable(name) != name:
        raise UsageError(f"{what} name '{name}' is empty or has characters that cannot be printed: choose another")


def _points(points: Any, what: str, minimum: int, maximum: int) -> Shape:
    number = f"{minimum} points" if minimum == maximum else f"{minimum} to {maximum} points"
    rule = f"{what} needs {number}, each [x, y] with coordinates of 0 or more: fractions up to 1, or pixels"
    if not isinstance(points, Sequence) or not minimum <= len(points) <= maximum:
        raise UsageError(rule)
    for point in points:
        if not isinstance(point, Sequence) or len(point) != 2 or not all(map(_is_coordinate, point)):
            raise UsageError(rule)
    return np.array(points, np.float64)


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= value < 1e6


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> float:
    """Return a number above 0 if the point is right of the line from start to end, with y down."""
    direction, offset = end - start, point - start
    return float(direction[0] * offset[1] - direction[1] * offset[0])
