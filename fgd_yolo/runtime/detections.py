"""What was found on one photo, for people, programs and other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from fgd_yolo.errors import FGDError
from fgd_yolo.strict_json import to_json


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects of one photo, best first.

    Convention:
        Pixels of the photo: x to the right, y down, (0, 0) is the upper left corner of the upper left pixel. Boxes are
        corners x1, y1, x2, y2, clipped to the photo. Rotated boxes are centre x, centre y, width, height and the angle
        in radians from the x axis to the width, clockwise as one sees it; these, and their enclosing `boxes`, may
        reach over the photo's border.
    Args:
        boxes: (n, 4) float32.
        scores: (n,) float32 in [0, 1].
        classes: (n,) int64.
        names: the name of each class.
        shape: height and width of the photo.
        masks: (n, height, width) bool, of segmentation.
        keypoints: (n, k, 2) x and y, or (n, k, 3) with a score, of pose.
        rotated_boxes: (n, 5) float32, of oriented boxes.
    Raises:
        ValueError: the arrays are not of one length.
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
            raise ValueError(f"detections need arrays of one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Return the objects that an index, a slice, a list of indices or a mask names; one index gives one object."""
        rows = [index] if isinstance(index, (int, np.integer)) else index
        return replace(self, **{name: column[rows] for name, column in self._columns().items()})

    def __iter__(self) -> Iterator[Detections]:
        return (self[index] for index in range(len(self)))

    def __str__(self) -> str:
        """Count the classes on the first line, then one line per object: class, score, corners."""
        if not len(self):
            return "no objects"
        named = [self._name(label) for label in self.classes]
        counts = ", ".join(f"{named.count(name)} {name}" for name in sorted(set(named), key=lambda n: -named.count(n)))
        width = max(map(len, named))
        rows = [
            f"  {name:<{width}}  {score:.2f}  ({', '.join(f'{edge:.0f}' for edge in box)})"
            for name, score, box in zip(named, self.scores, self.boxes, strict=True)
        ]
        return "\n".join([f"{len(self)} object{'s' * (len(self) > 1)}: {counts}", *rows])

    @property
    def corners(self) -> np.ndarray:
        """(n, 4, 2) float32: the corners of the rotated boxes, or of the upright ones, in order around each box."""
        if self.rotated_boxes is None:
            return self.boxes[:, [[2, 3], [2, 1], [0, 1], [0, 3]]]
        return rotated_corners(self.rotated_boxes)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of the photo with the objects drawn on it.

        Raises:
            FGDError: the image is not of the size that was detected on.
        """
        from fgd_yolo.runtime.drawing import draw

        return draw(self, image)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON: pixels rounded to 0.01, scores and angles to 0.0001.

        `polygons` are the outlines of an object's mask, holes left out.
        """
        return {
            "height": int(self.shape[0]),
            "width": int(self.shape[1]),
            "objects": [self._object(index) for index in range(len(self))],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON; a number that is not finite is null."""
        return to_json(self.to_dict())

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`: class names, rotated corners and keypoints in its `data`.

        Raises:
            FGDError: supervision is not installed.
        """
        try:
            from supervision import Detections as SupervisionDetections
        except ImportError as error:
            raise FGDError("supervision is not installed: run pip install 'fgd_yolo[supervision]'") from error
        data = {"class_name": np.array([self._name(label) for label in self.classes], dtype=str)}
        if self.rotated_boxes is not None:
            data["xyxyxyxy"] = self.corners
        if self.keypoints is not None:
            data["keypoints"] = self.keypoints
        return SupervisionDetections(
            xyxy=self.boxes, mask=self.masks, confidence=self.scores, class_id=self.classes, data=data
        )

    def _name(self, label: int) -> str:
        return self.names.get(int(label), f"class {label}")

    def _columns(self) -> dict[str, np.ndarray]:
        """Return the arrays that have a row per object."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}

    def _object(self, index: int) -> dict[str, Any]:
        label = int(self.classes[index])
        found = {
            "class": label,
            "name": self._name(label),
            "score": _rounded(self.scores[index], 4),
            "box": _rounded(self.boxes[index], 2),
        }
        if self.rotated_boxes is not None:
            box = self.rotated_boxes[index]
            found["rotated_box"] = [*_rounded(box[:4], 2), _rounded(box[4], 4)]
        if self.keypoints is not None:
            found["keypoints"] = [[*_rounded(point[:2], 2), *_rounded(point[2:], 4)] for point in self.keypoints[index]]
        if self.masks is not None:
            found["polygons"] = [outline.tolist() for outline in outlines(self.masks[index])]
        return found


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the outer outlines of a mask (H, W), each (points, 2) integers x and y of pixels on the outline."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour.reshape(-1, 2) for contour in contours]


def rotated_corners(boxes_cxcywhr: np.ndarray) -> np.ndarray:
    """Return the corners (n, 4, 2) of rotated boxes (n, 5), from the one at plus half the width and half the height."""
    centre, size, angle = boxes_cxcywhr[:, None, :2], boxes_cxcywhr[:, 2:4], boxes_cxcywhr[:, 4]
    cosine, sine = np.cos(angle), np.sin(angle)
    along = np.stack([cosine, sine], axis=-1) * size[:, :1] / 2
    across = np.stack([-sine, cosine], axis=-1) * size[:, 1:] / 2
    return centre + np.stack([along + across, along - across, -along - across, across - along], axis=1)


def _rounded(numbers: np.ndarray, digits: int) -> Any:
    """Round in float64, so that 0.3 does not print as 0.30000001."""
    return np.asarray(numbers, np.float64).round(digits).tolist()
