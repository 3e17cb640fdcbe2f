"""Detections painted on a photo, legible at any size."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.images import as_bgr

if TYPE_CHECKING:
    from fgd_yolo.runtime.detections import Detections

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MASK_OPACITY = 0.4
_KEYPOINT_SCORE = 0.5  # a keypoint below it is as good as not seen, and is not drawn
_GOLDEN = 0.61803398875  # steps of this share of the circle keep any number of hues apart


def draw(detections: Detections, image: np.ndarray) -> np.ndarray:
    """Return a copy of the photo with masks, boxes, keypoints and labels, the best object on top.

    A class has the same colour on every photo. Lines and letters grow with the photo's longer side.

    Raises:
        FGDError: the image is not of the size that was detected on.
    """
    canvas = as_bgr(image).copy()
    if canvas.shape[:2] != tuple(detections.shape):
        here, there = (f"{width} x {height}" for height, width in (canvas.shape[:2], detections.shape))
        raise FGDError(f"the image to draw on is {here} pixels, the detections are of {there}: pass the same photo")
    thickness = max(1, round(max(canvas.shape) / 400))
    line = cv2.LINE_8 if detections.rotated_boxes is None else cv2.LINE_AA
    worst_first = range(len(detections) - 1, -1, -1)
    for index in worst_first:
        if detections.masks is not None:
            inside = detections.masks[index]
            tint = np.array(class_colour(detections.classes[index])) * _MASK_OPACITY
            canvas[inside] = canvas[inside] * (1 - _MASK_OPACITY) + tint
    for index in worst_first:
        paint = class_colour(detections.classes[index])
        corners = _whole(detections.corners[index])
        cv2.polylines(canvas, [corners], True, paint, thickness, line)
        if detections.keypoints is not None:
            _draw_keypoints(canvas, detections.keypoints[index], paint, thickness)
    for index in worst_first:
        label = int(detections.classes[index])
        text = f"{detections.names.get(label, f'class {label}')} {detections.scores[index]:.2f}"
        _draw_label(canvas, text, _whole(detections.boxes[index]), class_colour(label), thickness)
    return canvas


def class_colour(label: int) -> tuple[int, int, int]:
    """Return the colour of a class, BGR."""
    red, green, blue = colorsys.hsv_to_rgb(int(label) * _GOLDEN % 1, 0.85, (1.0, 0.8)[int(label) % 2])
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_keypoints(canvas: np.ndarray, keypoints: np.ndarray, paint: tuple[int, int, int], thickness: int) -> None:
    for point in keypoints:
        if len(point) == 2 or point[2] >= _KEYPOINT_SCORE:
            centre = [int(v) for v in _whole(point[:2])]
            cv2.circle(canvas, centre, 2 * thickness, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(canvas, centre, 2 * thickness, paint, max(1, thickness // 2), cv2.LINE_AA)


def _draw_label(canvas: np.ndarray, text: str, box: np.ndarray, paint: tuple[int, int, int], thickness: int) -> None:
    """Write on a filled strip above the box; inside it where there is no room above, and never over the edge."""
    scale = max(0.4, max(canvas.shape) / 1200)
    stroke = max(1, round(scale * 1.5))
    (width, height), below = cv2.getTextSize(text, _FONT, scale, stroke)
    tall = height + below + thickness
    x = max(0, min(int(box[0]), canvas.shape[1] - width))
    y = int(box[1]) - tall
    if y < 0:
        y = max(0, min(int(box[1]), canvas.shape[0] - tall))
    cv2.rectangle(canvas, (x, y), (x + width, y + tall), paint, -1)
    brightness = 0.114 * paint[0] + 0.587 * paint[1] + 0.299 * paint[2]
    ink = (0, 0, 0) if brightness > 110 else (255, 255, 255)
    cv2.putText(canvas, text, (x, y + height + thickness // 2), _FONT, scale, ink, stroke, cv2.LINE_AA)


def _whole(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels).astype(np.int32)
