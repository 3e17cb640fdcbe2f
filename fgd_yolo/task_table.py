"""The tasks of teachers and students: one record for each task of a YOLO and one for RT-DETR, with all that differs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.rtdetr.predict import RTDETRPredictor
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.obb import OBBPredictor, OBBTrainer, OBBValidator
from ultralytics.models.yolo.pose import PosePredictor, PoseTrainer, PoseValidator
from ultralytics.models.yolo.segment import SegmentationPredictor, SegmentationTrainer, SegmentationValidator
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, RTDETRDetectionModel, SegmentationModel

from fgd_yolo.methods.rotated_masks import rotated_foreground
from fgd_yolo.methods.segment_masks import mask_foreground

LABEL_SCORES = "label_scores"
"""Key of a batch: the score of each label, (M,), if some are detections of a teacher."""

Foreground = Callable[[Mapping[str, Tensor], tuple[int, int], Any], Tensor]
"""Paints a batch's foreground (B, H, W) on the grid (H, W) of a level; the last argument is the trainer's `args`."""


def _rotated_boxes(batch: Mapping[str, Tensor], grid: tuple[int, int], arguments: Any) -> Tensor:
    scores = batch.get(LABEL_SCORES)
    return rotated_foreground(batch["bboxes"], batch["batch_idx"].long(), len(batch["img"]), grid, scores)


def _masks(batch: Mapping[str, Tensor], grid: tuple[int, int], arguments: Any) -> Tensor:
    objects = batch["masks"], batch["batch_idx"].long(), len(batch["img"])
    return mask_foreground(*objects, grid, batch.get(LABEL_SCORES), indexed=bool(arguments.overlap_mask))


@dataclass(frozen=True)
class YoloTask:
    """What Ultralytics calls a task, for one family of models, as the training of a student needs it.

    Args:
        name: Ultralytics' name of the task, which is also that of the labels.
        heads: class names of the heads that models of this task have.
        model: class of the models.
        trainer: Ultralytics' trainer.
        validator: Ultralytics' validator.
        predictor: Ultralytics' predictor.
        metric: attribute of the validator's metrics with the accuracy of the task.
        letter: letter that Ultralytics appends to that accuracy in the columns of its files.
        map_name: name of its mAP50-95, as in the tables of reports.
        measured: what that accuracy is measured on, in words.
        head_terms: terms by which a head of this task can be imitated.
        sparse_terms: those among them that compare few anchors, so that a level may get no gradient from a batch.
        foreground: paints what the objects cover; None for their boxes.
        family: name of the models in messages.
        loss_times_batch: whether Ultralytics multiplies the loss by the number of images of the batch.
        stretched: whether an image is stretched to a square, not enlarged to one by a border (letterbox).
        class_branches: attributes of the head whose last layers give a score for each class.
    """

    name: str
    heads: tuple[str, ...]
    model: type[DetectionModel]
    trainer: type[DetectionTrainer]
    validator: type[BaseValidator]
    predictor: type[BasePredictor]
    metric: str
    letter: str
    map_name: str
    measured: str
    head_terms: tuple[str, ...]
    sparse_terms: tuple[str, ...] = ()
    foreground: Foreground | None = None
    family: str = "YOLO"
    loss_times_batch: bool = True
    stretched: bool = False
    class_branches: tuple[str, ...] = ("cv3", "one2one_cv3")

    @property
    def accuracies(self) -> dict[str, str]:
        """What the accuracy of a model is measured on, in words, with the prefix of its fields in `Accuracy`."""
        own = {self.measured: ""}
        return own if self.metric == "box" else {**own, "boxes": "box_"}


TASKS = {
    task.name: task
    for task in (
        YoloTask(
            name="detect",
            heads=("Detect", "v10Detect"),
            model=DetectionModel,
            trainer=DetectionTrainer,
            validator=DetectionValidator,
            predictor=DetectionPredictor,
            metric="box",
            letter="B",
            map_name="mAP50-95",
            measured="boxes",
            head_terms=("cls", "box"),
        ),
        YoloTask(
            name="segment",
            heads=("Segment", "Segment26"),
            model=SegmentationModel,
            trainer=SegmentationTrainer,
            validator=SegmentationValidator,
            predictor=SegmentationPredictor,
            metric="seg",
            letter="M",
            map_name="mask mAP50-95",
            measured="masks",
            head_terms=("cls", "box", "mask"),
            sparse_terms=("mask",),
            foreground=_masks,
        ),
        YoloTask(
            name="pose",
            heads=("Pose", "Pose26"),
            model=PoseModel,
            trainer=PoseTrainer,
            validator=PoseValidator,
            predictor=PosePredictor,
            metric="pose",
            letter="P",
            map_name="keypoint mAP50-95",
            measured="keypoints",
            head_terms=("cls", "box", "keypoint", "visibility"),
        ),
        YoloTask(
            name="obb",
            heads=("OBB", "OBB26"),
            model=OBBModel,
            trainer=OBBTrainer,
            validator=OBBValidator,
            predictor=OBBPredictor,
            metric="box",
            letter="B",
            map_name="rotated-box mAP50-95",
            measured="rotated boxes",
            head_terms=("cls", "box", "angle"),
            sparse_terms=("box", "angle"),  # edges are compared where angles agree, angles where boxes are not square
            foreground=_rotated_boxes,
        ),
    )
}
"""All tasks by name, as a YOLO has them."""

RTDETR = replace(
    TASKS["detect"],
    heads=("RTDETRDecoder",),
    model=RTDETRDetectionModel,
    trainer=RTDETRTrainer,
    validator=RTDETRValidator,
    predictor=RTDETRPredictor,
    head_terms=(),
    family="RT-DETR",
    loss_times_batch=False,
    stretched=True,
    class_branches=("enc_score_head", "dec_score_head"),
)
"""RT-DETR: the task `detect`, with a decoder of queries in place of a head with a prediction for each cell."""

RECORDS = (*TASKS.values(), RTDETR)

TASK_OF_HEAD = {head: task for task in RECORDS for head in task.heads}
"""The record of a head by the name of its class, as in a model YAML."""


_NO_NECK, _NO_OBJECTS = "a classifier has no neck", "it predicts a map, not objects"
_NEEDS_TEXT = "it needs a text model, which is not supported"

OTHER_HEADS = {
    "Classify": _NO_NECK,
    "SemanticSegment": _NO_OBJECTS,
    "Depth": _NO_OBJECTS,
    "WorldDetect": _NEEDS_TEXT,
    "YOLOEDetect": _NEEDS_TEXT,
    "YOLOESegment": _NEEDS_TEXT,
    "YOLOESegment26": _NEEDS_TEXT,
}
"""Why a model with another head of Ultralytics can be neither student nor teacher, by the name of the head's class."""


class Accuracy(NamedTuple):
    """Mean average precision of a validation, each in [0, 1].

    Args:
        map50_95: over IoU (for keypoints OKS) 0.5 to 0.95, of what the task predicts.
        map50: the same at 0.5.
        box_map50_95: of the boxes; equal to `map50_95` for a task that predicts boxes alone.
        box_map50: the same at 0.5.
    """

    map50_95: float
    map50: float
    box_map50_95: float
    box_map50: float


def accuracy(metrics: Any, task: YoloTask, classes: Collection[int] | None = None) -> Accuracy:
    """Return the accuracy that the metrics of a validator of this task hold.

    Args:
        metrics: metrics of the validator.
        task: its task.
        classes: classes over which the mean is taken, of those that have labels; None for all. With no label of any
            of them the accuracy is 0.
    """
    own, box = getattr(metrics, task.metric), metrics.box
    if classes is None:
        return Accuracy(float(own.map), float(own.map50), float(box.map), float(box.map50))
    return Accuracy(*_mean_precision(own, classes), *_mean_precision(box, classes))


def _mean_precision(metric: Any, classes: Collection[int]) -> tuple[float, float]:
    """Return mAP50-95 and mAP50 over some classes; `all_ap` has a row per class of `ap_class_index`, first IoU 0.5."""
    rows = [row for row, number in zip(metric.all_ap, metric.ap_class_index, strict=True) if int(number) in classes]
    return (float(np.mean(rows)), float(np.mean([row[0] for row in rows]))) if rows else (0.0, 0.0)


def recorded_accuracy(columns: Mapping[str, Any], task: YoloTask) -> Accuracy | None:
    """Return the accuracy in a row of Ultralytics' results, or None if it has none.

    Args:
        columns: values by Ultralytics' names, such as `metrics/mAP50-95(M)`; also `train_metrics` of a checkpoint.
        task: task of the model.
    """
    names = [f"metrics/{name}({letter})" for letter in (task.letter, "B") for name in ("mAP50-95", "mAP50")]
    return Accuracy(*(float(columns[name]) for name in names)) if all(name in columns for name in names) else None


def task_of_model(model: nn.Module) -> YoloTask | None:
    """Return the record of an Ultralytics model, or None if it is of another kind, such as a classifier."""
    layers = getattr(model, "model", None)
    task = TASK_OF_HEAD.get(type(layers[-1]).__name__) if isinstance(layers, nn.Sequential) else None
    return task if task is not None and type(model) is task.model else None


def class_counts(head: nn.Module) -> set[int]:
    """Return the numbers of classes for which the layers of a head give scores; usually there is one number."""
    counts = set()
    for name in TASK_OF_HEAD[type(head).__name__].class_branches:
        branch = getattr(head, name, None)  # fusion removes one of a YOLO's two
        levels = branch if isinstance(branch, nn.ModuleList) else [] if branch is None else [branch]
        for layers in levels:
            last = layers[-1] if isinstance(layers, nn.Sequential) else layers
            counts.add(last.out_features if isinstance(last, nn.Linear) else last.out_channels)
    return counts


def task_of_trainer(trainer: type) -> YoloTask:
    """Return the record of a class that derives from Ultralytics' trainer of one."""
    return next(task for base in trainer.__mro__ for task in RECORDS if task.trainer is base)


def image_channels(config: Mapping[str, Any]) -> int:
    """Return the number of channels of the images that a model takes, by the content of its YAML."""
    return config.get("channels", 3)


def task_of_yaml(config: Mapping[str, Any]) -> YoloTask | None:
    """Return the record of a model by the content of its YAML, or None as for `task_of_model`."""
    return TASK_OF_HEAD.get(last_layer(config))


def why_refused(head: str | None) -> str:
    """Return the reason why models with a head are refused as the end of a message, or nothing if it is not known."""
    return f": {OTHER_HEADS[head]}" if head in OTHER_HEADS else ""


def last_layer(config: Mapping[str, Any]) -> str | None:
    """Return the class name of the last layer of a model, by the content of its YAML, or None if it has no layer."""
    return (config.get("head") or [[None] * 4])[-1][2]
