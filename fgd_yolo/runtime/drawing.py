"""Draw objects on an image, with lines and text that scale with its size."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MASK_OPACITY = 0.4
_MIN_KEYPOINT_SCORE = 0.5  # keypoints below it are considered invisible
_GOLDEN_RATIO = 0.61803398875  # steps of this fraction of the hue circle keep any number of colours apart


def draw_objects(
    canvas: np.ndarray,
    boxes: np.ndarray,
    corners: np.ndarray,
    classes: np.ndarray,
    captions: Sequence[str],
    masks: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    rotated: bool = False,
) -> None:
    """Draw masks, outlines, keypoints and captions in place, the first object on top.

    A class has the same colour in every image. Lines and text grow with the longer side of the image.

    Args:
        canvas: (H, W, 3) BGR uint8, changed in place.
        boxes: (n, 4) corners x1, y1, x2, y2 in pixels; captions are placed above them.
        corners: (n, 4, 2) the outline of each object in pixels.
        classes: (n,) indices.
        captions: n texts.
        masks: (n, H, W) bool.
        keypoints: (n, k, 2) x and y, or (n, k, 3) with a score.
        rotated: smooth the lines, which are not parallel to the axes.
    """
    thickness = max(1, round(max(canvas.shape) / 400))
    line = cv2.LINE_AA if rotated else cv2.LINE_8
    last_first = range(len(boxes) - 1, -1, -1)
    colours = [class_colour(index) for index in classes]
    if masks is not None:
        for index in last_first:
            inside = masks[index]
            canvas[inside] = canvas[inside] * (1 - _MASK_OPACITY) + np.array(colours[index]) * _MASK_OPACITY
    for index in last_first:
        cv2.polylines(canvas, [_rounded(corners[index])], True, colours[index], thickness, line)
        if keypoints is not None:
            _draw_keypoints(canvas, keypoints[index], colours[index], thickness)
    for index in last_first:
        _draw_caption(canvas, captions[index], _rounded(boxes[index]), colours[index], thickness)


def class_colour(label: int) -> tuple[int, int, int]:
    """Return the BGR colour of a class."""
    red, green, blue = colorsys.hsv_to_rgb(int(label) * _GOLDEN_RATIO % 1, 0.85, (1.0, 0.8)[int(label) % 2])
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_keypoints(canvas: np.ndarray, keypoints: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    for point in keypoints:
        if len(point) == 2 or point[2] >= _MIN_KEYPOINT_SCORE:
            centre = [int(v) for v in _rounded(point[:2])]
            cv2.circle(canvas, centre, 2 * thickness, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(canvas, centre, 2 * thickness, colour, max(1, thickness // 2), cv2.LINE_AA)


def _draw_caption(canvas: np.ndarray, text: str, box: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    """Write on a filled strip above the box, or inside it if there is no space above; never beyond the edge."""
    scale = max(0.4, max(canvas.shape) / 1200)
    stroke = max(1, round(scale * 1.5))
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, stroke)
    strip_height = height + baseline + thickness
    x = max(0, min(int(box[0]), canvas.shape[1] - width))
    y = int(box[1]) - strip_height
    if y < 0:
        y = max(0, min(int(box[1]), canvas.shape[0] - strip_height))
    cv2.rectangle(canvas, (x, y), (x + width, y + strip_height), colour, -1)
    brightness = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    text_colour = (0, 0, 0) if brightness > 110 else (255, 255, 255)
    cv2.putText(canvas, text, (x, y + height + thickness // 2), _FONT, scale, text_colour, stroke, cv2.LINE_AA)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels).astype(np.int32)
