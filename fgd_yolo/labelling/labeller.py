"""Run a model on images with Ultralytics' own predictor, and return what it finds as labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from ultralytics.engine.results import Results

from fgd_yolo.class_columns import check_class_map, predict_classes
from fgd_yolo.console import format_classes
from fgd_yolo.errors import UsageError
from fgd_yolo.labelling.found_objects import keypoints_field, polygon_field, to_labels
from fgd_yolo.labelling.image_labels import ImageLabels
from fgd_yolo.labelling.readable_images import ReadImage, label_readable
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import YoloTask, image_channels, task_of_model
from fgd_yolo.ultralytics import find_device, load_model, quiet_ultralytics

BATCH = 16


def label_images(
    model: Path,
    images: Sequence[Path],
    *,
    names: Mapping[int, str] | None = None,
    class_map: Mapping[str, str] | None = None,
    min_score: float,
    imgsz: int | None,
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
        imgsz: longer side of the network's input in pixels, rounded up to a multiple of the stride; None is that of the
            model's training.
        device: as Ultralytics' argument; None is the first GPU, or the CPU.
        batch: images that run together.

    Raises:
        FGDError: the file is not such a model.
        UsageError: the model knows none of the classes, the map names a class that does not exist, or the device is
            not available.
    """

    names: dict[int, str]
    """Classes of the labels by number."""
    known: list[int]
    """Numbers of those that the model knows."""
    task: YoloTask
    """The model's task."""

    def __init__(
        self,
        model: Path,
        *,
        names: Mapping[int, str] | None = None,
        class_map: Mapping[str, str] | None = None,
        min_score: float,
        imgsz: int | None,
        device: Any = None,
        batch: int = BATCH,
    ):
        with preserve_random_state():
            network, _ = load_model(model)
            own = dict(network.names)
            self.names, self.task = own if names is None else dict(names), task_of_model(network)
            check_class_map(class_map or {}, [own], self.names)
            self.known = predict_classes(network, self.names, class_map)
            if not self.known:
                raise UsageError(
                    f"{model} knows none of the classes that are asked for: it has {format_classes(own)}, asked for "
                    f"are {format_classes(self.names)}; they are matched by name, so give a model that has one of them"
                )
            self._channels, self._batch = image_channels(network.yaml), batch
            side_px = network.args["imgsz"] if imgsz is None else imgsz
            self._predictor = _predictor(network, self.task, min_score, side_px, find_device(device))

    def __call__(self, images: Sequence[Path], description: str = "labelling") -> list[ImageLabels]:
        """Return what the model finds on images, one entry for each that can be read, in order.

        Images that cannot be read are counted in a warning.

        Args:
            images: image files.
            description: what the progress bar says.

        Raises:
            FGDError: none of the images can be read.
        """
        settings = {"channels": self._channels, "batch": self._batch, "description": description}
        return label_readable(images, self._label, **settings)

    def _label(self, chunk: Sequence[ReadImage]) -> list[ImageLabels]:
        """Label images, those of one shape together: with several shapes Ultralytics would pad all to a square."""
        results: dict[int, Results] = {}
        for shape in {image.shape for _, image in chunk}:
            places = [place for place, (_, image) in enumerate(chunk) if image.shape == shape]
            with safe_loading(), quiet_ultralytics(), preserve_random_state():
                found = self._predictor([chunk[place][1] for place in places])
            results.update(zip(places, found, strict=True))
        return [_image_labels(path, results[place].cpu().numpy()) for place, (path, _) in enumerate(chunk)]


@safe_loading()
def _predictor(network: nn.Module, task: YoloTask, min_score: float, imgsz: int, device: Any) -> Any:
    """Return Ultralytics' predictor of the task with a model."""
    with quiet_ultralytics():
        options = {"task": task.name, "mode": "predict", "conf": min_score, "imgsz": imgsz, "device": device}
        predictor = task.predictor(overrides={**options, "rect": True, "save": False, "verbose": False})
        predictor.setup_model(network, verbose=False)
    return predictor


def _image_labels(path: Path, result: Results) -> ImageLabels:
    boxes = result.boxes if result.obb is None else result.obb
    columns = (boxes.cls.astype(int).tolist(), boxes.conf.tolist(), boxes.xyxy, _fields(result))
    return to_labels(path, result.orig_shape, zip(*columns, strict=True))


def _fields(result: Results) -> list[dict[str, np.ndarray]]:
    """Return for each object what its task adds to a box, as fields of `LabelledObject`."""
    if result.obb is not None:
        return [{"corners": corners} for corners in result.obb.xyxyxyxyn]
    if result.masks is not None:
        return [polygon_field(*pair) for pair in zip(result.masks.xyn, result.boxes.xyxyn, strict=True)]
    if result.keypoints is not None:
        points, confidences = result.keypoints.xyn, result.keypoints.conf
        return [keypoints_field(*pair) for pair in zip(points, _each(confidences, len(points)), strict=True)]
    return [{} for _ in range(len(result.boxes))]


def _each(column: np.ndarray | None, count: int) -> np.ndarray | list[None]:
    return [None] * count if column is None else column
