"""The page of the frames on which two models differ most: what is drawn on a frame, and the content of the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from fgd_yolo.disagreement.frame_scores import AGREED, EXTRA, KINDS, MISSED, ComparedObject, FrameScore
from fgd_yolo.frames.frame_folder import origin
from fgd_yolo.labelling import LabelledObject
from fgd_yolo.page_template import fill_template
from fgd_yolo.runtime.images import as_bgr, load_image
from fgd_yolo.text import printable

MAX_SIDE_PX = 800
"""Longer side of a frame on the page; a larger one is shrunk."""
_QUALITY = 80  # of JPEG
_MAX_CAPTIONS = 12  # per side of a frame; more would hide it
_SIDES = {"teacher": (MISSED, AGREED), "student": (EXTRA, AGREED)}
"""Which objects are drawn on the side of which model, the most interesting first."""
_BELOW = 0.06  # a caption of a box that starts higher than this fraction of the frame is inside it
_LEFT = 0.6  # a caption of a box that starts farther right than this ends with the box


class Shape(NamedTuple):
    """An object on one side of a frame, in pixels of the page's copy of it.

    Args:
        kind: what it is, which decides colour and line style.
        points: corners of its outline, as `points` of an SVG polygon.
        dots: keypoints, as the path of an SVG.
        title: what a pointer on it shows.
    """

    kind: str
    points: str
    dots: str
    title: str


class Caption(NamedTuple):
    """The text at an object, with its place as a CSS style."""

    kind: str
    text: str
    style: str


@dataclass(frozen=True)
class Side:
    """What is drawn for one model.

    Args:
        name: `teacher` or `student`.
        shapes: its objects, those on top last.
        captions: texts at the objects of the highest scores that the other model does not agree on.
        text: what is drawn, in words.
    """

    name: str
    shapes: list[Shape]
    captions: list[Caption]
    text: str


@dataclass(frozen=True)
class DrawnFrame:
    """A frame on the page.

    Args:
        name: file name.
        image: its JPEG as a data address.
        width: width of the page's copy in pixels.
        height: its height.
        frame: the scores.
        sides: what is drawn for the teacher and for the student.
    """

    name: str
    image: str
    width: int
    height: int
    frame: FrameScore
    sides: list[Side]


def draw_frame(frame: FrameScore, names: Mapping[int, str]) -> DrawnFrame:
    """Return a frame with what is drawn on it.

    Args:
        frame: a scored frame.
        names: classes by number.

    Raises:
        FGDError: the image can no longer be read.
    """
    image = as_bgr(load_image(frame.teacher.image))
    scale = min(1.0, MAX_SIDE_PX / max(image.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else image
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    address = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    sides = [_side(name, frame.objects, names, (width, height)) for name in _SIDES]
    return DrawnFrame(printable(origin(frame.teacher.image).name), address, width, height, frame, sides)


def _side(name: str, objects: Sequence[ComparedObject], names: Mapping[int, str], size: tuple[int, int]) -> Side:
    drawn = [entry for kind in _SIDES[name] for entry in objects if entry.kind == kind]
    captioned = [entry for entry in drawn if entry.kind != AGREED][:_MAX_CAPTIONS]
    counts = ", ".join(f"{sum(entry.kind == kind for entry in drawn)} {kind}" for kind in _SIDES[name])
    return Side(
        name=name,
        shapes=[_shape(entry, getattr(entry, name), names, size) for entry in reversed(drawn)],
        captions=[_caption(entry.kind, getattr(entry, name), names) for entry in captioned],
        text=f"objects of the {name}: {counts}",
    )


def _shape(entry: ComparedObject, seen: LabelledObject, names: Mapping[int, str], size: tuple[int, int]) -> Shape:
    left, top, right, bottom = seen.xyxy
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    outline = (corners if seen.outline is None else seen.outline) * size
    keypoints = np.zeros((0, 2)) if seen.keypoints is None else _visible(seen.keypoints) * size
    teacher, student = entry.scores
    title = f"{names[entry.class_id]}: {entry.kind}, teacher {teacher:.2f}, student {student:.2f}"
    title += f", IoU {entry.overlap:.2f}" * (entry.overlap > 0)
    return Shape(
        entry.kind,
        " ".join(f"{x:.1f},{y:.1f}" for x, y in outline),
        "".join(f"M{x:.1f} {y:.1f}h0" for x, y in keypoints),
        printable(title),
    )


def _visible(keypoints: np.ndarray) -> np.ndarray:
    return keypoints[keypoints[:, 2] > 0, :2] if keypoints.shape[1] == 3 else keypoints


def _caption(kind: str, seen: LabelledObject, names: Mapping[int, str]) -> Caption:
    left, top, right, _ = seen.xyxy
    across = f"right:{100 * (1 - right):.1f}%" if left > _LEFT else f"left:{100 * left:.1f}%"
    along = f"top:{100 * top:.1f}%" if top < _BELOW else f"bottom:{100 * (1 - top):.1f}%"
    return Caption(kind, f"{printable(names[seen.class_id])} {seen.score:.2f}", f"{across};{along}")


def page(summary: Mapping[str, Any], pictures: Sequence[DrawnFrame]) -> str:
    """Return the page as HTML.

    Args:
        summary: the numbers of all frames, as in the JSON file.
        pictures: the frames to show, those that differ most first.
    """
    values = {"summary": summary, "pictures": pictures, "kinds": KINDS}
    return fill_template("fgd_yolo.disagreement", "index.html", **values)
