"""Ultralytics' validation, with the average precision of small, medium and large objects in addition."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.obb import OBBValidator
from ultralytics.utils import ops

from fgd_yolo.compare.results import SIZES
from fgd_yolo.errors import FGDError
from fgd_yolo.task_table import RECORDS, YoloTask, task_of_model
from fgd_yolo.text import printable_names
from fgd_yolo.train_arguments import validation_arguments
from fgd_yolo.training.teachers.other_tasks import Labels, accuracy_in_table
from fgd_yolo.training.teachers.validation_by_name import validate_by_name
from fgd_yolo.ultralytics import load_model


class Boxes(NamedTuple):
    """Boxes of one image."""

    ltwh: list[list[float]]
    """Left, top, width, height in pixels of the original image."""
    labels: list[int]
    scores: list[float]
    """Empty for ground truth."""


class SizeRecorder(DetectionValidator):
    """A mixin before Ultralytics' validator of a task with upright boxes.

    It also records the boxes of ground truth and detections of every image, in pixels of the original image.
    """

    stretched = False

    def init_metrics(self, model) -> None:
        """Reset, as Ultralytics does before each validation."""
        super().init_metrics(model)
        self.truth: list[Boxes] = []
        self.detections: list[Boxes] = []

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        """Update the metrics as Ultralytics does, and record the boxes."""
        super().update_metrics(preds, batch)
        for index, detected in enumerate(preds):
            image = DetectionValidator._prepare_batch(self, index, batch)  # without masks or keypoints
            true, found = (_to_image(boxes, image, self.stretched) for boxes in (image["bboxes"], detected["bboxes"]))
            self.truth.append(Boxes(_ltwh(true), image["cls"].int().tolist(), []))
            self.detections.append(
                Boxes(_ltwh(found), detected["cls"].int().tolist(), detected["conf"].float().tolist())
            )


def _to_image(boxes: Tensor, image: Mapping[str, Any], stretched: bool) -> Tensor:
    """Return corners (n, 4) in pixels of the original image, for those in pixels of the network's input.

    Args:
        boxes: corners (n, 4).
        image: as Ultralytics' validator prepares it.
        stretched: whether the image was stretched, for which Ultralytics' own function has one gain too few.
    """
    if not stretched:
        return ops.scale_boxes(image["imgsz"], boxes.clone(), image["ori_shape"], image["ratio_pad"])
    gain_y, gain_x = (own / side for own, side in zip(image["ori_shape"], image["imgsz"], strict=True))
    return boxes * boxes.new_tensor([gain_x, gain_y, gain_x, gain_y])


def _size_validator(task: YoloTask) -> type[DetectionValidator]:
    """Return the validator of a task, which records boxes if they are upright: COCO's sizes are of such boxes."""
    rotated = issubclass(task.validator, OBBValidator)
    parts, options = (SizeRecorder, task.validator), {"stretched": task.stretched}
    return task.validator if rotated else type("SizeValidator", parts, options)


SIZE_VALIDATORS = {task: _size_validator(task) for task in RECORDS}
"""Validators that record boxes where sizes can be measured, by the record of the model."""


def size_ap(truth: list[Boxes], detections: list[Boxes]) -> dict[str, float | None]:
    """Return the average precision by object size, computed by COCO's own evaluation.

    Convention:
        The area of an object is that of its box, in pixels of the original image: small is up to 32 x 32, medium up
        to 96 x 96, large above. IoU 0.50 to 0.95, at most 100 detections an image, mean over the classes.

    Args:
        truth: ground truth of each image.
        detections: detections on the same images.

    Returns:
        A value in [0, 1] for each of `SIZES`, None if no object has that size.
    """
    numbers = range(1, len(truth) + 1)
    objects = [
        {"image_id": image, "bbox": box, "category_id": label, "area": box[2] * box[3], "iscrowd": 0}
        for image, boxes in zip(numbers, truth, strict=True)
        for box, label in zip(boxes.ltwh, boxes.labels, strict=True)
    ]
    results = [
        {"image_id": image, "bbox": box, "category_id": label, "score": score}
        for image, boxes in zip(numbers, detections, strict=True)
        for box, label, score in zip(*boxes, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints its progress
        true = COCO()
        true.dataset = {
            "images": [{"id": image} for image in numbers],
            "annotations": [{"id": number, **entry} for number, entry in enumerate(objects, start=1)],
            "categories": [{"id": label} for label in sorted({entry["category_id"] for entry in objects})],
        }
        true.createIndex()
        evaluation = COCOeval(true, true.loadRes(results) if results else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    by_area = evaluation.eval["precision"][..., 1:, -1].transpose(3, 0, 1, 2)
    return {
        size: float(precision[precision > -1].mean()) if (precision > -1).any() else None
        for size, precision in zip(SIZES, by_area, strict=True)
    }


def measure_accuracy(
    weights: Path,
    data: str,
    train: Mapping[str, Any],
    names: Mapping[int, str] | None = None,
    labels: Labels | None = None,
    class_map: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the accuracy of a checkpoint as columns of a run.

    Args:
        weights: checkpoint of a YOLO.
        data: dataset YAML.
        train: Ultralytics train arguments; those that apply to validation are used.
        names: classes of the data, for a model that may have others, which is measured on those that it knows; None if
            it has them.
        labels: labels of the data, for a model that may be of another task; None for those of the model's task.
        class_map: class of the data by class of the model.

    Raises:
        FGDError: the checkpoint is not a YOLO, or Ultralytics' mAP is not in [0, 1].
    """
    model, _ = load_model(weights)
    task = task_of_model(model)
    arguments = {"data": data, **validation_arguments(train)}
    recorder = SIZE_VALIDATORS[task]
    validator, known = validate_by_name(
        weights, names or model.names, arguments, labels=labels, class_map=class_map, validator=recorder
    )
    own_labels = Labels.of_model(model)
    measured = accuracy_in_table(validator, known, labels or own_labels, model)
    for value in measured.values():
        if value is not None and not 0 <= value <= 1:
            raise FGDError(f"the validation of {weights} returned mAP {value}, which is not between 0 and 1")
    if labels not in (None, own_labels):
        return {"measured": task.measured, **measured}
    own = getattr(validator.metrics, task.metric)
    label_names = _unique_names(printable_names(validator.names))
    has_sizes = isinstance(validator, SizeRecorder) and known is None  # they are means over all classes
    sizes = size_ap(validator.truth, validator.detections) if has_sizes else {}
    return {
        "measured": task.measured,
        **measured,
        "class_ap": {
            label_names[int(number)]: round(float(ap), 6)
            for number, ap in zip(own.ap_class_index, own.ap, strict=True)
            if known is None or number in known
        },
        **{f"ap_{size}": value for size, value in sizes.items()},
    }


def _unique_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return the class names, with the number appended to names that several classes share."""
    shared = Counter(names.values())
    return {number: f"{name} ({number})" if shared[name] > 1 else name for number, name in names.items()}


def _ltwh(xyxy) -> list[list[float]]:
    return ops.xyxy2ltwh(xyxy).float().tolist()
