"""The detections of one image, with conversions to text, JSON and other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from fgd_yolo.errors import FGDError, not_installed
from fgd_yolo.runtime.drawing import draw_objects
from fgd_yolo.runtime.images import as_bgr
from fgd_yolo.strict_json import to_json


@dataclass(frozen=True, eq=False)
class Detections:
    """The detected objects of one image, in order of decreasing score.

    Convention:
        Coordinates are pixels of the image: x to the right, y down, (0, 0) is the upper left corner of the upper left
        pixel. Boxes are corners x1, y1, x2, y2, clipped to the image. Rotated boxes are centre x, centre y, width,
        height and the angle in radians from the x axis to the width, clockwise on the screen; these, and their
        enclosing `boxes`, may extend beyond the image.
    Args:
        boxes: (n, 4) float32.
        scores: (n,) float32 in [0, 1].
        classes: (n,) int64.
        names: the name of each class.
        shape: height and width of the image.
        masks: (n, height, width) bool, for segmentation.
        keypoints: (n, k, 2) x and y, or (n, k, 3) with a score, for pose.
        rotated_boxes: (n, 5) float32, for oriented boxes.
    Raises:
        ValueError: the arrays have different lengths.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: dict[int, str]
    shape: tuple[int, int]
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    rotated_boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self._columns().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"detections need arrays of the same length, got {lengths}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Select objects by an index, a slice, a list of indices or a mask; a single index gives one object."""
        rows = [index] if isinstance(index, (int, np.integer)) else index
        return replace(self, **{name: column[rows] for name, column in self._columns().items()})

    def __iter__(self) -> Iterator[Detections]:
        return (self[index] for index in range(len(self)))

    def __str__(self) -> str:
        """Return the counts of the classes, then one line per object: class, score, corners."""
        if not len(self):
            return "no objects"
        names = self.class_names
        counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names), key=lambda n: -names.count(n)))
        width = max(map(len, names))
        rows = [
            f"  {name:<{width}}  {score:.2f}  ({', '.join(f'{edge:.0f}' for edge in box)})"
            for name, score, box in zip(names, self.scores, self.boxes, strict=True)
        ]
        return "\n".join([f"{len(self)} object{'s' * (len(self) > 1)}: {counts}", *rows])

    @property
    def class_names(self) -> list[str]:
        """The name of each object's class."""
        return [self.names.get(int(label), f"class {label}") for label in self.classes]

    @property
    def corners(self) -> np.ndarray:
        """The corners of the rotated boxes, or of the upright ones, in order around each box, (n, 4, 2) float32."""
        if self.rotated_boxes is None:
            return self.boxes[:, [[2, 3], [2, 1], [0, 1], [0, 3]]]
        return rotated_corners(self.rotated_boxes)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of the image with masks, boxes, keypoints and labels.

        Args:
            image: the image that the objects were detected on, as `OnnxDetector` accepts it.
        Raises:
            FGDError: the image has another size.
        """
        canvas = as_bgr(image).copy()
        if canvas.shape[:2] != tuple(self.shape):
            given, expected = (f"{width} x {height}" for height, width in (canvas.shape[:2], self.shape))
            raise FGDError(
                f"cannot draw detections of an image of {expected} pixels on an image of {given}: pass the same image"
            )
        captions = [f"{name} {score:.2f}" for name, score in zip(self.class_names, self.scores, strict=True)]
        rotated = self.rotated_boxes is not None
        draw_objects(canvas, self.boxes, self.corners, self.classes, captions, self.masks, self.keypoints, rotated)
        return canvas

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON: pixels rounded to 0.01, scores and angles to 0.0001.

        `polygons` are the outer outlines of an object's mask, without its holes.
        """
        return {
            "height": int(self.shape[0]),
            "width": int(self.shape[1]),
            "objects": [self._object(index, name) for index, name in enumerate(self.class_names)],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON; non-finite numbers are null."""
        return to_json(self.to_dict())

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`, with class names, rotated corners and keypoints in its `data`.

        Raises:
            FGDError: supervision is not installed.
        """
        try:
            from supervision import Detections as SupervisionDetections
        except ImportError as error:
            raise not_installed("supervision", "supervision") from error
        data = {"class_name": np.array(self.class_names, dtype=str)}
        if self.rotated_boxes is not None:
            data["xyxyxyxy"] = self.corners
        if self.keypoints is not None:
            data["keypoints"] = self.keypoints
        return SupervisionDetections(
            xyxy=self.boxes, mask=self.masks, confidence=self.scores, class_id=self.classes, data=data
        )

    def _columns(self) -> dict[str, np.ndarray]:
        """Return the arrays with a row per object."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}

    def _object(self, index: int, name: str) -> dict[str, Any]:
        values = {
            "class": int(self.classes[index]),
            "name": name,
            "score": _rounded(self.scores[index], 4),
            "box": _rounded(self.boxes[index], 2),
        }
        if self.rotated_boxes is not None:
            box = self.rotated_boxes[index]
            values["rotated_box"] = [*_rounded(box[:4], 2), _rounded(box[4], 4)]
        if self.keypoints is not None:
            values["keypoints"] = [
                [*_rounded(point[:2], 2), *_rounded(point[2:], 4)] for point in self.keypoints[index]
            ]
        if self.masks is not None:
            values["polygons"] = [outline.tolist() for outline in outlines(self.masks[index])]
        return values


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the outer outlines of a mask (H, W), each as (points, 2) integers x and y of its pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour.reshape(-1, 2) for contour in contours]


def rotated_corners(boxes_cxcywhr: np.ndarray) -> np.ndarray:
    """Return the corners (n, 4, 2) of rotated boxes (n, 5), in the order of Ultralytics."""
    centre, size, angle = boxes_cxcywhr[:, None, :2], boxes_cxcywhr[:, 2:4], boxes_cxcywhr[:, 4]
    cosine, sine = np.cos(angle), np.sin(angle)
    along = np.stack([cosine, sine], axis=-1) * size[:, :1] / 2
    across = np.stack([-sine, cosine], axis=-1) * size[:, 1:] / 2
    return centre + np.stack([along + across, along - across, -along - across, across - along], axis=1)


def _rounded(numbers: np.ndarray, digits: int) -> Any:
    """Round in float64, so that 0.3 does not print as 0.30000001."""
    return np.asarray(numbers, np.float64).round(digits).tolist()
