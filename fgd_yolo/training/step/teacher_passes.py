"""What the teachers make of a batch, beside the student: all that the distillation needs and that needs no student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from fgd_yolo.methods import LabelledObjects
from fgd_yolo.methods.box_masks import foreground_weights
from fgd_yolo.methods.placement import to_device
from fgd_yolo.neck import Level
from fgd_yolo.task_table import LABEL_SCORES
from fgd_yolo.training.heads.batch_parts import join_parts
from fgd_yolo.training.heads.head_outputs import HeadOutputs, cell_scores
from fgd_yolo.training.speed.beside import Beside
from fgd_yolo.training.speed.host_labels import labels_of
from fgd_yolo.training.step.crossed_head import CrossedHead
from fgd_yolo.training.step.term_group import TermGroup
from fgd_yolo.training.teachers.image_sizes import TEACHER_IMAGES
from fgd_yolo.training.teachers.teacher import Teacher, on_grid
from fgd_yolo.training.unlabeled_frames.frame_labels import FrameLabels, frames_of
from fgd_yolo.training.unlabeled_frames.frame_objects import FrameObjects

BoundForeground = Callable[[dict[str, Tensor], tuple[int, int]], Tensor]
"""Paints the objects of a batch on the grid (H, W) of a level, (B, H, W)."""


class TeacherPass(NamedTuple):
    """What the teachers make of a batch.

    Args:
        maps: neck maps of each teacher that runs, in float32.
        outputs: outputs of the heads that are compared, that label frames, or whose scores weight the features.
        targets: what the terms of each level compare the student's map with; empty if the features have ended.
        crossed: outputs of the head that the student's maps are sent through, for the teacher's own; None without one.
        found: objects on the unlabelled frames of the batch; None without frames.
    """

    maps: dict[Teacher, list[Tensor]]
    outputs: dict[Teacher, HeadOutputs]
    targets: list[Any]
    crossed: HeadOutputs | None
    found: FrameObjects | None


class Foregrounds:
    """Paints the objects of a batch on the grids of levels.

    Args:
        paint: paints what the objects of the student's task cover; None for their boxes.
        needs_boxes: whether a method of the features needs the boxes.
    """

    def __init__(self, paint: BoundForeground | None, needs_boxes: bool):
        self._own = paint
        self._needs_boxes = needs_boxes

    def objects(self, batch: dict[str, Any], levels: Sequence[Level]) -> list[LabelledObjects]:
        """Return the labelled objects on each of some levels."""
        device = batch["img"].device
        boxes = batch["bboxes"][:, :4].to(device)  # a rotated box has its angle as fifth value
        image_index = batch["batch_idx"].to(device).long()
        labels = {**batch, **labels_of(batch)}
        painted = [self._paint(labels, _grid(batch, level)) for level in levels]
        return [LabelledObjects(boxes, image_index, own if own is None else to_device(own, device)) for own in painted]

    def _paint(self, labels: dict[str, Any], grid: tuple[int, int]) -> Tensor | None:
        """Return the objects of a batch on the grid of a level, (B, H, W); None if no method needs them."""
        if self._own is not None:
            return self._own(labels, grid)
        if not self._needs_boxes:
            return None
        boxes, image_index = labels["bboxes"][:, :4], labels["batch_idx"].long()
        return foreground_weights(boxes, image_index, len(labels["img"]), grid, labels.get(LABEL_SCORES))


class TeacherPasses:
    """Runs the teachers on one batch at a time, beside the student.

    Args:
        features: terms of the features.
        heads: terms of the heads.
        feature_teacher: teacher whose neck maps are imitated.
        head_teachers: teachers whose heads are imitated.
        losses: loss modules of the features, one per level.
        compares_outputs: whether outputs of the heads are compared as they are.
        crossed_head: the head that the student's maps are sent through; None without one.
        foregrounds: paints the objects.
        frame_labels: labels unlabelled frames; None without frames.
    """

    def __init__(
        self,
        features: TermGroup,
        heads: TermGroup,
        feature_teacher: Teacher,
        head_teachers: Sequence[Teacher],
        losses: nn.ModuleList,
        compares_outputs: bool,
        crossed_head: CrossedHead | None,
        foregrounds: Foregrounds,
        frame_labels: FrameLabels | None = None,
    ):
        self.features, self.heads = features, heads
        self.feature_teacher, self.head_teachers = feature_teacher, head_teachers
        self.losses = losses
        self.compares_outputs = compares_outputs
        self.crossed_head = crossed_head
        self.foregrounds = foregrounds
        self.frame_labels = frame_labels
        self._beside: Beside | None = None

    def needed(self, batch: dict[str, Any]) -> bool:
        """Return whether a batch needs the teachers: a term is still running, or a frame must be labelled."""
        return self.features.running or self.heads.running or self._labels_frames(batch)

    def start(self, batch: dict[str, Any]) -> None:
        """Let the teachers begin with a batch, if it needs them."""
        if not self.needed(batch):
            return
        images = _teachers_images(batch)
        if self._beside is None:
            self._beside = Beside(images.device)
        frames = self._labels_frames(batch)
        # Painted before the teachers run, since copies to a GPU may wait for what is queued there; what the teachers
        # find on frames is not known yet.
        ready = self.features.running and not frames
        objects = self.foregrounds.objects(batch, self.feature_teacher.levels) if ready else []
        parts = images.tensor_split(self._beside.pieces(len(images)))
        pieces = [partial(self._run, part, frames) for part in parts]
        self._beside.start(images, pieces, partial(self._join, batch, objects))

    def wait(self, batch: dict[str, Any]) -> TeacherPass:
        """Return what the teachers make of a batch; they begin now if `start` was not called for it."""
        images = _teachers_images(batch)
        passed = None if self._beside is None else self._beside.wait(images)
        if passed is None:
            self.start(batch)
            passed = self._beside.wait(images)
        return passed

    def drain(self) -> None:
        """Finish and forget what the teachers have begun, so that it holds no memory."""
        if self._beside is not None:
            self._beside.drain()

    def close(self) -> None:
        """End the thread of the teachers, if there is one; a later `start` begins another."""
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    def _labels_frames(self, batch: dict[str, Any]) -> bool:
        return self.frame_labels is not None and bool(frames_of(batch))

    def _run(self, images: Tensor, frames: bool) -> tuple[dict[Teacher, list[Tensor]], dict[Teacher, HeadOutputs]]:
        """Return the neck maps of the teachers that are needed, and the outputs of heads that are.

        Args:
            images: a part of the batch.
            frames: whether the batch has frames to label.
        """
        heads = list(self.head_teachers) if self.heads.running else []
        asked = heads if self.compares_outputs else []
        if self.features.running and self.losses[0].needs_scores:
            asked = [self.feature_teacher, *asked]
        if frames:
            asked = [*asked, *self.frame_labels.teachers]
        chosen = [self.feature_teacher] if self.features.running else []
        maps = {teacher: teacher.frozen(images) for teacher in dict.fromkeys([*chosen, *heads, *asked])}
        return maps, {teacher: teacher.outputs(maps[teacher]) for teacher in dict.fromkeys(asked)}

    def _join(
        self, batch: dict[str, Any], objects: list[LabelledObjects], parts: list[tuple[dict, dict]]
    ) -> TeacherPass:
        """Join the parts of a batch, and prepare what the terms compare with, which is of a whole batch."""
        maps, outputs = (
            {teacher: join_parts([part[teacher] for part in of_parts]) for teacher in of_parts[0]}
            for of_parts in zip(*parts, strict=True)
        )
        targets, found, own_maps = [], None, maps.get(self.feature_teacher)
        if self._labels_frames(batch):
            found = self.frame_labels.find(batch, outputs, maps, tuple(_teachers_images(batch).shape[2:]))
            if self.features.running:
                painted = self.frame_labels.with_foreground(batch, found)
                objects = self.foregrounds.objects(painted, self.feature_teacher.levels)
        if self.features.running:
            targets = self._targets(batch, objects, own_maps, outputs.get(self.feature_teacher))
        crossed = self.crossed_head.own_outputs(own_maps) if self.crossed_head and self.heads.running else None
        return TeacherPass(maps, outputs, targets, crossed, found)

    def _targets(
        self,
        batch: dict[str, Any],
        objects: list[LabelledObjects],
        own_maps: list[Tensor],
        outputs: HeadOutputs | None,
    ) -> list[Any]:
        """Return what the terms of each level compare the student's map with."""
        levels = self.feature_teacher.levels
        grids = [_grid(batch, level) for level in levels]
        if self.losses[0].needs_scores:
            scores = cell_scores(outputs, grids)
            objects = [own._replace(scores=cells) for own, cells in zip(objects, scores, strict=True)]
        return [
            loss.prepare(on_grid(level, own_maps, grid), own)
            for level, loss, grid, own in zip(levels, self.losses, grids, objects, strict=True)
        ]


def _teachers_images(batch: dict[str, Any]) -> Tensor:
    """Return the images of a batch as the teachers see them."""
    return batch.get(TEACHER_IMAGES, batch["img"])


def _grid(batch: dict[str, Any], level: Level) -> tuple[int, int]:
    """Return (H, W) of the student's map on a level; the sides of its images are multiples of all strides."""
    height, width = batch["img"].shape[2:]
    return height // level.stride, width // level.stride
