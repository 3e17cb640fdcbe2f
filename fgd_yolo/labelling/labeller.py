"""Run a model on images with Ultralytics' own predictor, and return what it finds as labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.engine.results import Results
from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.class_columns import check_class_map, predict_classes
from fgd_yolo.console import format_classes, progress
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.label_lines import HIDDEN, VISIBLE
from fgd_yolo.labelling.image_labels import ImageLabels, LabelledObject
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import image_channels, task_of_model
from fgd_yolo.text import listed
from fgd_yolo.ultralytics import find_device, load_model, quiet_ultralytics

BATCH = 16
VISIBLE_FROM = 0.5
"""Confidence from which a keypoint is labelled as visible."""


def label_images(
    model: Path,
    images: Sequence[Path],
    *,
    names: Mapping[int, str] | None = None,
    class_map: Mapping[str, str] | None = None,
    min_score: float,
    imgsz: int,
    device: Any = None,
    batch: int = BATCH,
) -> list[ImageLabels]:
    """Return what a model finds on images, one entry for each image that can be read, in order; see `Labeller`."""
    settings = {"min_score": min_score, "imgsz": imgsz, "device": device, "batch": batch}
    return Labeller(model, names=names, class_map=class_map, **settings)(images)


class Labeller:
    """A model that labels images: a YOLO of any task of `TASKS`, or an RT-DETR.

    Convention:
        Each image gets what Ultralytics' `predict` gives for it alone: the image is letterboxed to the smallest
        rectangle (stretched for RT-DETR), and the boxes pass its NMS, unless the head needs none. No random state is
        changed.

    Args:
        model: checkpoint, a `.pt` file.
        names: classes of the data by number from 0, which the model's are matched with by name, as in a distillation;
            its other classes are dropped. None keeps its own classes and numbers.
        class_map: class of the data by class of the model, for classes that have different names.
        min_score: objects with a score that is not above this are dropped.
        imgsz: longer side of the network's input in pixels, rounded up to a multiple of the stride.
        device: as Ultralytics' argument; None is the first GPU, or the CPU.
        batch: images that run together.

    Raises:
        FGDError: the file is not such a model.
        UsageError: the model knows none of the classes, the map names a class that does not exist, or the device is
            not available.
    """

    def __init__(
        self,
        model: Path,
        *,
        names: Mapping[int, str] | None = None,
        class_map: Mapping[str, str] | None = None,
        min_score: float,
        imgsz: int,
        device: Any = None,
        batch: int = BATCH,
    ):
        with preserve_random_state():
            network, _ = load_model(model)
            own = dict(network.names)
            wanted = own if names is None else dict(names)
            check_class_map(class_map or {}, [own], wanted)
            self.known = predict_classes(network, wanted, class_map)
            """Numbers of the classes of the data that the model knows."""
            if not self.known:
                raise UsageError(
                    f"{model} knows none of the classes that are asked for: it has {format_classes(own)}, asked for "
                    f"are {format_classes(wanted)}; give a model that knows one of them, or map equal classes"
                )
            self.names, self.task = wanted, task_of_model(network)
            self._channels, self._batch = image_channels(network.yaml), batch
            self._predictor = _predictor(network, self.task, min_score, imgsz, find_device(device))

    def __call__(self, images: Sequence[Path]) -> list[ImageLabels]:
        """Return what the model finds on images, one entry for each that can be read, in order.

        Images that cannot be read are counted in a warning.

        Raises:
            FGDError: none of the images can be read.
        """
        labels, unreadable = [], {}
        paths = progress(images, "labelling") if images else iter(())
        for chunk in _readable(paths, self._channels, self._batch, unreadable):
            labels += self._label(chunk)
        if unreadable:
            path, detail = next(iter(unreadable.items()))
            if not labels:
                raise FGDError(f"none of the {len(images)} images can be read, such as {path}{detail}")
            LOGGER.warning(
                f"{colorstr('FGD:')} {len(unreadable)} of {len(images)} images cannot be read and are left out: "
                f"{listed(unreadable)}"
            )
        return labels

    def _label(self, chunk: Sequence[tuple[Path, np.ndarray]]) -> list[ImageLabels]:
        """Label images, those of one shape together: with several shapes Ultralytics would pad all to a square."""
        shapes = {image.shape for _, image in chunk}
        results: dict[int, Results] = {}
        for shape in shapes:
            places = [place for place, (_, image) in enumerate(chunk) if image.shape == shape]
            with safe_loading(), quiet_ultralytics(), preserve_random_state():
                found = self._predictor([chunk[place][1] for place in places])
            results.update(zip(places, found, strict=True))
        return [_image_labels(path, results[place]) for place, (path, _) in enumerate(chunk)]


@safe_loading()
def _predictor(network, task, min_score: float, imgsz: int, device: Any) -> Any:
    """Return Ultralytics' predictor of the task with a model."""
    with quiet_ultralytics():
        options = {"task": task.name, "mode": "predict", "conf": min_score, "imgsz": imgsz, "device": device}
        predictor = task.predictor(overrides={**options, "rect": True, "save": False, "verbose": False})
        predictor.setup_model(network, verbose=False)
    return predictor


def _readable(
    paths: Iterator[Path], channels: int, batch: int, unreadable: dict[Path, str]
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    """Yield the images that can be read, with their paths, `batch` at a time; collect why others cannot be read."""
    chunk: list[tuple[Path, np.ndarray]] = []
    for path in paths:
        try:
            chunk.append((Path(path), load_image(path, channels=channels)))
        except (UnreadableImageError, ImageTooLargeError) as error:
            unreadable[Path(path)] = failure_detail(error)
        if len(chunk) == batch:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _image_labels(path: Path, result: Results) -> ImageLabels:
    height, width = result.orig_shape
    boxes = result.boxes if result.obb is None else result.obb
    rows = zip(boxes.cls.int().tolist(), boxes.conf.tolist(), boxes.xyxy.cpu().numpy(), _shapes(result), strict=True)
    objects = []
    for class_id, score, xyxy, shape in rows:
        left, top, right, bottom = (xyxy / [width, height, width, height]).clip(0, 1).tolist()
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        if min(box[2:]) > 0:
            objects.append(LabelledObject(class_id, score, box, **shape))
    return ImageLabels(path, height, width, tuple(sorted(objects, key=lambda entry: -entry.score)))


def _shapes(result: Results) -> list[dict[str, np.ndarray]]:
    """Return for each object what its task adds to a box, as fields of `LabelledObject`."""
    if result.obb is not None:
        return [{"corners": corners} for corners in result.obb.xyxyxyxyn.cpu().numpy()]
    if result.masks is not None:
        boxes = result.boxes.xyxyn.cpu().numpy()
        return [{"polygon": _polygon(*pair)} for pair in zip(result.masks.xyn, boxes, strict=True)]
    if result.keypoints is not None:
        confidences = result.keypoints.conf
        confidences = None if confidences is None else confidences.cpu().numpy()
        points = result.keypoints.xyn.cpu().numpy()
        return [
            {"keypoints": _keypoints(xy, None if confidences is None else confidences[place])}
            for place, xy in enumerate(points)
        ]
    return [{} for _ in range(len(result.boxes))]


def _polygon(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the outline of a mask; the box of one that is too small for an outline of three points."""
    if len(points) >= 3:
        return points.clip(0, 1)
    left, top, right, bottom = box.clip(0, 1)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _keypoints(points: np.ndarray, confidences: np.ndarray | None) -> np.ndarray:
    if confidences is None:
        return points.clip(0, 1)
    seen = (confidences >= VISIBLE_FROM) & (points >= 0).all(1) & (points <= 1).all(1)
    visibility = np.where(seen, VISIBLE, HIDDEN)
    return np.column_stack([points * seen[:, None], visibility])
