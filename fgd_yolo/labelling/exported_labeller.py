"""Run an exported ONNX file on images, and return what it finds as labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.utils.ops import masks2segments

from fgd_yolo.labelling.found_objects import keypoints_field, polygon_field, to_labels
from fgd_yolo.labelling.image_labels import ImageLabels
from fgd_yolo.labelling.readable_images import ReadImage, label_readable
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.task_table import TASKS, YoloTask


class ExportedLabeller:
    """An exported file that labels images, as `Labeller` does with a checkpoint.

    Args:
        model: ONNX file.
        min_score: objects with a score that is not above this are dropped; a file with embedded NMS has already dropped
            those below the threshold of its export.
        device: as Ultralytics' argument; None is the first GPU, or the CPU.

    Raises:
        FGDError: the file is not an exported detector, or the device is not available.
    """

    names: dict[int, str]
    """Classes of the labels by number."""
    task: YoloTask
    """The file's task."""

    def __init__(self, model: Path, *, min_score: float, device: Any = None):
        self._detector = OnnxDetector(model, _runtime_device(device), conf=min_score)
        self.names, self.task = dict(self._detector.names), TASKS[self._detector.info.task]

    def __call__(self, images: Sequence[Path], description: str = "labelling") -> list[ImageLabels]:
        """Return what the file finds on images, as `Labeller` does."""
        settings = {"channels": self._detector.info.channels, "batch": self._detector.max_batch}
        return label_readable(images, self._label, description=description, **settings)

    def _label(self, chunk: Sequence[ReadImage]) -> list[ImageLabels]:
        found = self._detector([image for _, image in chunk])
        return [detections_to_labels(path, detections) for (path, _), detections in zip(chunk, found, strict=True)]


def _runtime_device(device: Any) -> str:
    """Return the runtime's name of a device that is named as for Ultralytics."""
    name = "auto" if device is None else str(device)
    return f"cuda:{name}" if name.isdecimal() else name


def detections_to_labels(path: Path, found: Detections) -> ImageLabels:
    """Return detections of an image, in pixels, as labels."""
    columns = (found.class_id.tolist(), found.confidence.tolist(), found.xyxy, _fields(found))
    return to_labels(path, found.shape, zip(*columns, strict=True))


def _fields(found: Detections) -> list[dict[str, np.ndarray]]:
    """Return for each object what its task adds to a box, as fields of `LabelledObject`."""
    size = np.array(found.shape[::-1])
    if found.xywhr is not None:
        return [{"corners": corners / size} for corners in found.xyxyxyxy]
    if found.mask is not None:
        boxes = found.xyxy / [*size, *size]
        return [
            polygon_field(points / size, box) for points, box in zip(masks2segments(found.mask), boxes, strict=True)
        ]
    if found.keypoints is not None:
        scored = found.keypoints.shape[2] == 3
        return [keypoints_field(points[:, :2] / size, points[:, 2] if scored else None) for points in found.keypoints]
    return [{} for _ in range(len(found))]
