"""A frame as people see it: what was found on it, who is who, what is counted, which camera and when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fgd_yolo.runtime.drawing import class_colour

if TYPE_CHECKING:
    from fgd_yolo.streams.frame import Result

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK, _ZONE = (255, 255, 255), (0, 0, 0), (0, 215, 255)
_TALLEST = "Ag|"  # gives all lines one height
_SHADE = 0.45  # of the picture that stays behind letters


def overlay(result: Result) -> np.ndarray:
    """Return a copy of the frame with boxes, track ids, zones with their counts, the stream's name and the clock.

    Convention:
        The clock is local time at which the frame arrived. Letters grow with the picture.
    Returns:
        (H, W, 3) BGR uint8; the frame's own picture is not touched.
    """
    frame = result.frame
    canvas = result.detections.draw(frame.image())
    if result.zones is not None:
        _draw_zones(canvas, result.zones)
    if result.ids is not None:
        _draw_ids(canvas, result)
    arrived = datetime.fromtimestamp(time.time() - (time.monotonic() - frame.arrived))
    lines = [f"{frame.stream}  {arrived:%Y-%m-%d %H:%M:%S}.{arrived.microsecond // 100_000}"]
    if result.zones is not None:
        lines += zone_lines(result.zones)
    _write_block(canvas, lines)
    return canvas


def zone_lines(zones: dict) -> list[str]:
    """Return what is counted, a line per zone and per counting line."""
    areas = [
        f"{name}: {one['inside']} inside, {one['entered']} in, {one['left']} out"
        for name, one in zones["zones"].items()
    ]
    lines = [f"{name}: {one['to_right']} right, {one['to_left']} left" for name, one in zones["lines"].items()]
    return areas + lines


def _draw_zones(canvas: np.ndarray, zones: dict) -> None:
    """Draw outlines, and lines as arrows from their first point, with their names."""
    thickness = max(1, round(max(canvas.shape) / 500))
    for name, zone in zones["zones"].items():
        points = np.round(zone["points"]).astype(np.int32)
        cv2.polylines(canvas, [points], True, _ZONE, thickness, cv2.LINE_AA)
        _chip(canvas, name, points[0], _ZONE)
    for name, line in zones["lines"].items():
        start, end = np.round(line["points"]).astype(int).tolist()
        cv2.arrowedLine(canvas, start, end, _ZONE, thickness, cv2.LINE_AA, tipLength=0.05)
        _chip(canvas, name, start, _ZONE)


def _draw_ids(canvas: np.ndarray, result: Result) -> None:
    """Write each track id at the box's lower left corner, where no label stands."""
    for box, label, track in zip(result.detections.boxes, result.detections.classes, result.ids, strict=True):
        if track >= 0:
            _chip(canvas, f"#{track}", box[[0, 3]], _bright(class_colour(label)))


def _chip(canvas: np.ndarray, text: str, corner: Sequence[float], ink: tuple[int, int, int]) -> None:
    """Write on a black chip that has its lower left corner there, and never reaches over the edge."""
    scale, stroke = _letters(canvas)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, stroke)
    (_, height), below = cv2.getTextSize(_TALLEST, _FONT, scale, stroke)
    x = max(0, min(int(corner[0]), canvas.shape[1] - width))
    y = max(height + below, min(int(corner[1]), canvas.shape[0] - 1))
    cv2.rectangle(canvas, (x, y - height - below), (x + width, y), _BLACK, -1)
    cv2.putText(canvas, text, (x, y - below), _FONT, scale, ink, stroke, cv2.LINE_AA)


def _write_block(canvas: np.ndarray, lines: list[str]) -> None:
    """Write lines into the upper left corner, on a darkened ground."""
    scale, stroke = _letters(canvas)
    (_, height), below = cv2.getTextSize(_TALLEST, _FONT, scale, stroke)
    pitch, margin = height + 2 * below, 2 * below
    width = max(cv2.getTextSize(line, _FONT, scale, stroke)[0][0] for line in lines)
    ground = canvas[: pitch * len(lines) + below, : width + 2 * margin]
    ground[:] = cv2.convertScaleAbs(ground, alpha=_SHADE)
    for number, line in enumerate(lines):
        place = margin, pitch * number + height + below
        cv2.putText(canvas, line, place, _FONT, scale, _WHITE, stroke, cv2.LINE_AA)


def _letters(canvas: np.ndarray) -> tuple[float, int]:
    scale = max(0.4, max(canvas.shape) / 1400)
    return scale, max(1, round(scale * 1.5))


def _bright(paint: tuple[int, int, int]) -> tuple[int, int, int]:
    """Lighten a colour until it can be read on black."""
    return tuple(value + (255 - value) // 2 for value in paint)
