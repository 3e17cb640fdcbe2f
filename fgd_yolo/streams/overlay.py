"""The annotated frame for viewers: detections, track ids, zones with counts, the stream's name and the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fgd_yolo.runtime.drawing import class_colour

if TYPE_CHECKING:
    from fgd_yolo.runtime.detections import Detections
    from fgd_yolo.streams.frame import Result

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK, _ZONE_COLOR = (255, 255, 255), (0, 0, 0), (0, 215, 255)
_TALL_TEXT = "Ag|"  # its height is used for all lines
_BACKGROUND_BRIGHTNESS = 0.45  # of the frame behind text


def overlay(result: Result) -> np.ndarray:
    """Return a copy of the frame with boxes, track ids, zones with their counts, the stream's name and the time.

    Convention:
        The time is the local time at which the frame arrived. The size of the text is proportional to the frame's.
    Returns:
        (H, W, 3) BGR uint8; the frame itself is not modified.
    """
    frame = result.frame
    canvas = result.detections.draw(frame.image())
    if result.zones is not None:
        _draw_zones(canvas, result.zones)
    if result.detections.tracker_id is not None:
        _draw_ids(canvas, result.detections)
    arrived = datetime.fromtimestamp(time.time() - (time.monotonic() - frame.arrived))
    lines = [f"{frame.stream}  {arrived:%Y-%m-%d %H:%M:%S}.{arrived.microsecond // 100_000}"]
    if result.zones is not None:
        lines += zone_lines(result.zones)
    _draw_text_block(canvas, lines)
    return canvas


def zone_lines(zones: dict) -> list[str]:
    """Return the counts, as one line of text per zone and per counting line."""
    zone_counts = [
        f"{name}: {zone['inside']} inside, {zone['entered']} in, {zone['left']} out"
        for name, zone in zones["zones"].items()
    ]
    line_counts = [f"{name}: {line['to_right']} right, {line['to_left']} left" for name, line in zones["lines"].items()]
    return zone_counts + line_counts


def _draw_zones(canvas: np.ndarray, zones: dict) -> None:
    """Draw zones as outlines and lines as arrows from their first point, with their names."""
    thickness = max(1, round(max(canvas.shape) / 500))
    for name, zone in zones["zones"].items():
        points = np.round(zone["points"]).astype(np.int32)
        cv2.polylines(canvas, [points], True, _ZONE_COLOR, thickness, cv2.LINE_AA)
        _draw_label(canvas, name, points[0], _ZONE_COLOR)
    for name, line in zones["lines"].items():
        start, end = np.round(line["points"]).astype(int).tolist()
        cv2.arrowedLine(canvas, start, end, _ZONE_COLOR, thickness, cv2.LINE_AA, tipLength=0.05)
        _draw_label(canvas, name, start, _ZONE_COLOR)


def _draw_ids(canvas: np.ndarray, detections: Detections) -> None:
    """Draw each track id at the box's lower left corner; the class label is at the upper left one."""
    for xyxy, class_id, track in zip(detections.xyxy, detections.class_id, detections.tracker_id, strict=True):
        if track >= 0:
            _draw_label(canvas, f"#{track}", xyxy[[0, 3]], _brighten(class_colour(class_id)))


def _draw_label(canvas: np.ndarray, text: str, corner: Sequence[float], color: tuple[int, int, int]) -> None:
    """Draw text on a black background with its lower left corner at the given point, moved to fit into the frame."""
    scale, stroke = _text_size(canvas)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, stroke)
    (_, height), below = cv2.getTextSize(_TALL_TEXT, _FONT, scale, stroke)
    x = max(0, min(int(corner[0]), canvas.shape[1] - width))
    y = max(height + below, min(int(corner[1]), canvas.shape[0] - 1))
    cv2.rectangle(canvas, (x, y - height - below), (x + width, y), _BLACK, -1)
    cv2.putText(canvas, text, (x, y - below), _FONT, scale, color, stroke, cv2.LINE_AA)


def _draw_text_block(canvas: np.ndarray, lines: list[str]) -> None:
    """Draw lines of text in the upper left corner, on a darkened background."""
    scale, stroke = _text_size(canvas)
    (_, height), below = cv2.getTextSize(_TALL_TEXT, _FONT, scale, stroke)
    pitch, margin = height + 2 * below, 2 * below
    width = max(cv2.getTextSize(line, _FONT, scale, stroke)[0][0] for line in lines)
    background = canvas[: pitch * len(lines) + below, : width + 2 * margin]
    background[:] = cv2.convertScaleAbs(background, alpha=_BACKGROUND_BRIGHTNESS)
    for number, line in enumerate(lines):
        origin = margin, pitch * number + height + below
        cv2.putText(canvas, line, origin, _FONT, scale, _WHITE, stroke, cv2.LINE_AA)


def _text_size(canvas: np.ndarray) -> tuple[float, int]:
    scale = max(0.4, max(canvas.shape) / 1400)
    return scale, max(1, round(scale * 1.5))


def _brighten(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return a lighter color that is readable on black."""
    return tuple(value + (255 - value) // 2 for value in color)
