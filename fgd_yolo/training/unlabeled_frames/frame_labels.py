"""What teaches on unlabelled frames in the place of labels: the objects that the teachers find there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils.tal import make_anchors

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import UsageError
from fgd_yolo.task_table import LABEL_SCORES
from fgd_yolo.training.heads.head_outputs import HeadOutputs
from fgd_yolo.training.speed.host_labels import HOST_LABELS
from fgd_yolo.training.teachers.teacher import Teacher
from fgd_yolo.training.unlabeled_frames.frame_objects import FrameObjects, label_kind, objects_of_frames
from fgd_yolo.training.unlabeled_frames.ignored_anchors import IgnoredRegions
from fgd_yolo.training.unlabeled_frames.mixed_dataset import UNLABELED

NO_TEACHER_LABELS = (
    "no teacher can label the unlabelled frames: give one of the student's task that knows a class of the data, or "
    "leave out --unlabeled"
)
QUERIES_NEED_LABELS = (
    "pseudo=false is not available for an RT-DETR student, whose queries need labels: leave it out, and with it "
    "--recipe pretrain"
)


class FrameLabels:
    """Labels unlabelled frames of a batch by the teachers.

    Convention:
        A class is labelled by the first teacher that knows it. Objects with a score from `pseudo_high` are targets of
        the student's own loss, those from `pseudo_low` are neither objects nor background there, and all of them are
        foreground of the features, weighted by their score.

    Args:
        teachers: all teachers, in their order.
        student: the live student.
        config: options of the distillation.
        arguments: the trainer's arguments, of which `overlap_mask` is read.

    Raises:
        UsageError: no teacher can label the frames.
    """

    def __init__(self, teachers: Sequence[Teacher], student: nn.Module, config: FGDConfig, arguments: Any):
        self.head = student.model[-1]
        self.config = config
        self.indexed_masks = bool(arguments.overlap_mask)
        if not config.pseudo and isinstance(self.head, RTDETRDecoder):
            raise UsageError(QUERIES_NEED_LABELS)
        if not config.pseudo and any(config.heads.weights.values()) and config.heads.needs_boxes:
            raise UsageError(
                f"pseudo=false is not available with method={config.method}, which needs what the student's own loss "
                "assigns on every image: leave it out"
            )
        self.classes: dict[Teacher, list[int]] = {}
        open_classes = list(range(self.head.nc))
        for teacher in teachers:
            if not teacher.labels_frames:
                continue
            own = [number for number in open_classes if teacher.known is None or number in teacher.known]
            if own:
                self.classes[teacher] = own
            open_classes = [number for number in open_classes if number not in own]
        self.unknown = open_classes
        if not self.classes:
            raise UsageError(NO_TEACHER_LABELS)

    @property
    def teachers(self) -> list[Teacher]:
        """The teachers that label something."""
        return list(self.classes)

    def find(
        self,
        batch: Mapping[str, Any],
        outputs: Mapping[Teacher, HeadOutputs],
        maps: Mapping[Teacher, list[Tensor]],
        size: tuple[int, int],
    ) -> FrameObjects:
        """Return the objects that the teachers find on the frames of a batch, with scores from `pseudo_low`.

        Args:
            batch: Ultralytics' batch.
            outputs: outputs of the heads for the whole batch.
            maps: neck maps for the whole batch.
            size: (height, width) of the teachers' images.
        """
        frames = frames_of(batch)
        # Ultralytics resizes the images alone for multi_scale.
        mask_size = tuple(batch["masks"].shape[-2:]) if "masks" in batch else None
        kind = label_kind(self.head, mask_size)
        found = [
            objects_of_frames(outputs[teacher], maps[teacher], classes, frames, size, self.config.pseudo_low, kind)
            for teacher, classes in self.classes.items()
        ]
        return found[0] if len(found) == 1 else _joined(found)

    def with_targets(self, batch: dict[str, Any], objects: FrameObjects) -> dict[str, Any]:
        """Return a batch in which the certain objects are labels of the frames."""
        return _with_labels(batch, objects.chosen(objects.scores >= self.config.pseudo_high), self.indexed_masks)

    def with_foreground(self, batch: dict[str, Any], objects: FrameObjects) -> dict[str, Any]:
        """Return a batch in which all objects are labels of the frames, with `LABEL_SCORES`; true labels have 1."""
        return _with_labels(batch, objects, self.indexed_masks)

    def ignored(self, batch: Mapping[str, Any], objects: FrameObjects) -> IgnoredRegions:
        """Return where the student's own loss must not take a frame for background."""
        uncertain = objects.chosen(objects.scores < self.config.pseudo_high)
        return IgnoredRegions(uncertain.boxes, uncertain.image_index, frames_of(batch), self.unknown)

    def anchors(self, size: tuple[int, int], device: torch.device) -> Tensor:
        """Return the anchors of the student's head as fractions of an image of (height, width) pixels, (A, 2).

        RT-DETR has none.
        """
        if isinstance(self.head, RTDETRDecoder):
            return torch.zeros(0, 2, device=device)
        grids = [(size[0] // int(stride), size[1] // int(stride)) for stride in self.head.stride]
        maps = [torch.empty(1, 0, *grid, device=device) for grid in grids]
        points, strides = make_anchors(maps, self.head.stride, 0.5)
        return points * strides / points.new_tensor([size[1], size[0]])


def frames_of(batch: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the images of a batch that are unlabelled frames."""
    return [number for number, frame in enumerate(batch.get(UNLABELED, ())) if frame]


def labelled_part(batch: dict[str, Any], preds: Any, indexed_masks: bool) -> tuple[dict[str, Any], Any, bool]:
    """Return the labelled images of a batch with the student's predictions for them.

    Ultralytics' loss needs at least one image. Of a batch of frames alone that is the first, whose loss must not count.

    Args:
        batch: Ultralytics' batch; labels belong to its labelled images alone.
        preds: predictions for all images.
        indexed_masks: whether a mask holds all objects of an image.

    Returns:
        Batch, predictions, and whether they count.
    """
    frames = frames_of(batch)
    kept = [number for number in range(len(batch["img"])) if number not in frames]
    images = torch.tensor(kept or [0], device=batch["img"].device)
    new_number = torch.zeros(len(batch["img"]), device=images.device).index_put_(
        (images,), torch.arange(len(images), dtype=torch.float, device=images.device)
    )
    part = {**batch, "img": batch["img"][images]}
    part["batch_idx"] = new_number.to(batch["batch_idx"])[batch["batch_idx"].long()]
    for name in ("masks", "sem_masks") if indexed_masks else ("sem_masks",):
        if name in batch:
            part[name] = batch[name][images]
    return part, _of_images(preds, images), bool(kept)


def _of_images(value: Any, images: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[images]
    if isinstance(value, dict):
        return {name: _of_images(own, images) for name, own in value.items()}
    return type(value)(_of_images(own, images) for own in value) if isinstance(value, (list, tuple)) else value


def _joined(parts: Sequence[FrameObjects]) -> FrameObjects:
    """Return the objects of several teachers, ordered by image; masks by area within one."""
    every = FrameObjects(*(None if own[0] is None else torch.cat(own) for own in zip(*parts, strict=True)))
    order = torch.arange(len(every.classes), device=every.classes.device)
    if every.masks is not None:
        order = every.masks.flatten(1).sum(dim=1).argsort(descending=True, stable=True)
    return every.chosen(order[every.image_index[order].argsort(stable=True)])


def _with_labels(batch: dict[str, Any], objects: FrameObjects, indexed_masks: bool) -> dict[str, Any]:
    """Return a batch with further labels, ordered by image as Ultralytics' losses need them, and with their scores."""
    device = batch["img"].device
    index = torch.cat([batch["batch_idx"].to(device), objects.image_index.to(batch["batch_idx"].dtype)])
    order = index.argsort(stable=True)
    scores = torch.cat([objects.scores.new_ones(len(batch["batch_idx"])), objects.scores])
    result = {**batch, "batch_idx": index[order], LABEL_SCORES: scores[order]}
    result.pop(HOST_LABELS, None)  # without those of the frames
    added = {"cls": objects.classes[:, None], "bboxes": objects.boxes, "keypoints": objects.keypoints}
    if objects.masks is not None and not indexed_masks:
        added["masks"] = objects.masks
    for name, values in added.items():
        if values is not None:
            own = batch[name].to(device)
            # Without any label Ultralytics leaves out the dimensions of keypoints.
            result[name] = torch.cat([own, values.to(own.dtype)])[order] if len(own) else values.to(own.dtype)[order]
    if objects.masks is not None:
        _paint_masks(result, objects, indexed_masks)
    return result


def _paint_masks(batch: dict[str, Any], objects: FrameObjects, indexed_masks: bool) -> None:
    """Paint the objects into the masks of each image, smaller ones over larger ones, in place of copies."""
    paints: dict[str, Callable[[FrameObjects], Tensor]] = {}
    if indexed_masks:
        paints["masks"] = lambda own: torch.arange(1, len(own.classes) + 1, device=own.classes.device)
    if "sem_masks" in batch:
        paints["sem_masks"] = lambda own: own.classes
    for name, paint in paints.items():
        canvas = batch[name].to(objects.masks.device).float().clone()
        for image in objects.image_index.unique().tolist():
            own = objects.chosen(objects.image_index == image)
            for mask, value in zip(own.masks, paint(own), strict=True):
                canvas[image][mask] = value.to(canvas.dtype)
        batch[name] = canvas
