"""The detections of one image, with conversions to text, JSON and other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from fgd_yolo.errors import FGDError, not_installed
from fgd_yolo.json_message import json_message
from fgd_yolo.runtime.drawing import draw_objects
from fgd_yolo.runtime.images import as_bgr
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import counted

_COLUMNS = ("xyxy", "confidence", "class_id", "mask", "keypoints", "xywhr", "tracker_id")


@dataclass(frozen=True, eq=False)
class Detections:
    """The detected objects of one image, in order of decreasing confidence.

    The fields have the names of `supervision.Detections`, and so do selection, iteration, `area` and `data`: code that
    reads one reads the other. What differs from it:

    - An object cannot be changed; `dataclasses.replace(detections, confidence=...)` returns a changed copy.
    - `names`, `shape`, `keypoints` and `xywhr` are fields. `data` is made of them when it is read.
    - It has no anchors, NMS, merging or annotators: use `detections.to_supervision()` for these.

    Convention:
        Coordinates are pixels of the image: x to the right, y down, (0, 0) is the upper left corner of the upper left
        pixel. Boxes are corners x1, y1, x2, y2, clipped to the image. Rotated boxes are centre x, centre y, width,
        height and the angle in radians from the x axis to the width, clockwise on the screen; these, and the upright
        boxes around them in `xyxy`, may extend beyond the image.
    Args:
        xyxy: (n, 4) float32.
        confidence: (n,) float32 in [0, 1].
        class_id: (n,) int64.
        names: the name of each class.
        shape: height and width of the image.
        mask: (n, height, width) bool, for segmentation.
        keypoints: (n, k, 2) x and y, or (n, k, 3) with a confidence, for pose.
        xywhr: (n, 5) float32 rotated boxes, for oriented boxes.
        tracker_id: (n,) int64 for a tracked stream, -1 for an object that has no id yet.
    Raises:
        ValueError: the arrays have different lengths.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    names: dict[int, str]
    shape: tuple[int, int]
    mask: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    xywhr: np.ndarray | None = None
    tracker_id: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self._columns().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"detections need arrays of the same length, got {lengths}")

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: Any) -> Any:
        """Select objects, or return an entry of `data`.

        Args:
            index: an index, a slice, a list of indices or a mask, for `Detections` of the selected objects; or a
                string, for `data[index]`.
        """
        if isinstance(index, str):
            return self.data[index]
        rows = [index] if isinstance(index, (int, np.integer)) else index
        return replace(self, **{name: column[rows] for name, column in self._columns().items()})

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield xyxy, mask, confidence, class_id, tracker_id and data of each object, None for what it does not have.

        `detections[index]` is an object as `Detections`.
        """
        data = self.data
        for index in range(len(self)):
            columns = (self.xyxy, self.mask, self.confidence, self.class_id, self.tracker_id)
            values = [None if column is None else column[index] for column in columns]
            yield *values, {key: column[index] for key, column in data.items()}

    def __str__(self) -> str:
        """Return the counts of the classes, then one line per object: class, confidence, corners."""
        if not len(self):
            return "no objects"
        names = self.class_names
        counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names), key=lambda n: -names.count(n)))
        width = max(map(len, names))
        rows = [
            f"  {name:<{width}}  {confidence:.2f}  ({', '.join(f'{edge:.0f}' for edge in box)})"
            for name, confidence, box in zip(names, self.confidence, self.xyxy, strict=True)
        ]
        return "\n".join([f"{counted(len(self), 'object')}: {counts}", *rows])

    @property
    def class_names(self) -> list[str]:
        """The name of each object's class."""
        return [self.names.get(index, f"class {index}") for index in self.class_id.tolist()]

    @property
    def xyxyxyxy(self) -> np.ndarray:
        """The corners of the rotated boxes, or of the upright ones, in order around each box, (n, 4, 2) float32."""
        if self.xywhr is None:
            return self.xyxy[:, [[2, 3], [2, 1], [0, 1], [0, 3]]]
        return rotated_corners(self.xywhr)

    @property
    def area(self) -> np.ndarray:
        """The area of each object in pixels, (n,): of its mask, else of its rotated box, else of its box."""
        if self.mask is not None:
            return np.count_nonzero(self.mask, axis=(1, 2))
        if self.xywhr is not None:
            return self.xywhr[:, 2] * self.xywhr[:, 3]
        return (self.xyxy[:, 2] - self.xyxy[:, 0]) * (self.xyxy[:, 3] - self.xyxy[:, 1])

    @property
    def data(self) -> dict[str, np.ndarray]:
        """The further columns, as in supervision: `class_name`, `xyxyxyxy` of rotated boxes, `keypoints` of poses."""
        data = {"class_name": np.array(self.class_names, dtype=str)}
        if self.xywhr is not None:
            data["xyxyxyxy"] = self.xyxyxyxy
        if self.keypoints is not None:
            data["keypoints"] = self.keypoints
        return data

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of the image with masks, boxes, keypoints and labels.

        Args:
            image: the image that the objects were detected on, as `OnnxDetector` accepts it. A grey one becomes colour;
                of more than three channels the first three are drawn.
        Raises:
            FGDError: the image has another size.
        """
        canvas = as_bgr(image).copy()
        if canvas.shape[:2] != tuple(self.shape):
            given, expected = (f"{width} x {height}" for height, width in (canvas.shape[:2], self.shape))
            raise FGDError(
                f"cannot draw detections of an image of {expected} pixels on an image of {given}: pass the same image"
            )
        captions = [f"{name} {score:.2f}" for name, score in zip(self.class_names, self.confidence, strict=True)]
        rotated = self.xywhr is not None
        draw_objects(canvas, self.xyxy, self.xyxyxyxy, self.class_id, captions, self.mask, self.keypoints, rotated)
        return canvas

    def to_dict(self) -> dict[str, Any]:
        """Return height, width and objects as plain numbers, as they are in all JSON messages.

        Pixels are rounded to 0.01, confidences and angles to 0.0001. `tracker_id` is None for an object that has no id
        yet. `polygons` are the outer outlines of an object's mask, without its holes.
        """
        columns: dict[str, list] = {
            "class_id": self.class_id.tolist(),
            "class_name": self.class_names,
            "confidence": _rounded(self.confidence, 0),
            "xyxy": _rounded(self.xyxy, 4),
        }
        if self.tracker_id is not None:
            columns["tracker_id"] = [track if track >= 0 else None for track in self.tracker_id.tolist()]
        if self.keypoints is not None:
            columns["keypoints"] = _rounded(self.keypoints, 2)
        if self.xywhr is not None:
            columns["xywhr"] = _rounded(self.xywhr, 4)
        if self.mask is not None:
            columns["polygons"] = [[outline.tolist() for outline in outlines(mask)] for mask in self.mask]
        objects = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return {"height": int(self.shape[0]), "width": int(self.shape[1]), "objects": objects}

    def to_json(self) -> str:
        """Return a JSON message of kind `image` as one line; non-finite numbers are null."""
        return to_json(json_message("image", self.to_dict()))

    def to_supervision(self) -> Any:
        """Return `supervision.Detections` with the same arrays and `data`.

        Raises:
            FGDError: supervision is not installed.
        """
        try:
            from supervision import Detections as SupervisionDetections
        except ImportError as error:
            raise not_installed("supervision", "supervision") from error
        return SupervisionDetections(
            xyxy=self.xyxy,
            mask=self.mask,
            confidence=self.confidence,
            class_id=self.class_id,
            tracker_id=self.tracker_id,
            data=self.data,
        )

    def _columns(self) -> dict[str, np.ndarray]:
        """Return the arrays with a row per object."""
        return {name: column for name in _COLUMNS if (column := getattr(self, name)) is not None}


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the outer outlines of a mask (H, W), each as (points, 2) integers x and y of its pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour.reshape(-1, 2) for contour in contours]


def rotated_corners(xywhr: np.ndarray) -> np.ndarray:
    """Return the corners (n, 4, 2) of rotated boxes (n, 5), in the order of Ultralytics."""
    centre, size, angle = xywhr[:, None, :2], xywhr[:, 2:4], xywhr[:, 4]
    cosine, sine = np.cos(angle), np.sin(angle)
    along = np.stack([cosine, sine], axis=-1) * size[:, :1] / 2
    across = np.stack([-sine, cosine], axis=-1) * size[:, 1:] / 2
    return centre + np.stack([along + across, along - across, -along - across, across - along], axis=1)


def _rounded(rows: np.ndarray, pixels: int) -> list:
    """Round the first numbers of each row, which are pixels, to 0.01 and the others to 0.0001.

    In float64, so that 0.3 does not print as 0.30000001.
    """
    rows = np.asarray(rows, np.float64)
    return np.concatenate([rows[..., :pixels].round(2), rows[..., pixels:].round(4)], axis=-1).tolist()
