"""Base class of the loss module that a distillation method has for each level."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.config import FeatureOptions
from fgd_yolo.methods.alignment import align_student, alignment, at_least_float32, check_same_cells


class LabelledObjects(NamedTuple):
    """The labelled objects of a batch, as the loss of one level takes them.

    Args:
        boxes: (M, 4), x centre, y centre, width, height as fractions of the padded input.
        image_index: (M,) integers, the image that each box belongs to.
        foreground: (B, H, W), weights of the level's cells, in the place of the boxes; None paints the boxes.
        scores: (B, H, W), the teacher's largest class probability in each cell; None if no method needs them.
    """

    boxes: Tensor
    image_index: Tensor
    foreground: Tensor | None = None
    scores: Tensor | None = None


class FeatureTarget(NamedTuple):
    """What a method compares a student's map with: all that depends on the teacher and the labels alone.

    Args:
        map: (B, C, H, W), the teacher's map, at least float32 and without gradient.
        objects: labelled objects of the level.
    """

    map: Tensor
    objects: LabelledObjects


class LevelLoss(nn.Module):
    """Base class of a method's loss module: the terms between a student's map and its teacher's on one level.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        weights: factor of each term, as the NamedTuple that the method returns.
    """

    needs_scores: ClassVar[bool] = False
    """Whether the terms need the teacher's scores."""

    def __init__(self, student_channels: int, teacher_channels: int, weights: NamedTuple):
        super().__init__()
        self.align = alignment(student_channels, teacher_channels)
        self.weights = weights

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: FeatureOptions) -> LevelLoss:
        """Build the module of one level with the options of its method."""
        raise NotImplementedError

    def forward(
        self,
        student_map: Tensor,
        teacher_map: Tensor,
        boxes: Tensor,
        image_index: Tensor,
        foreground: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> NamedTuple:
        """Compare two maps of the same images.

        Args:
            student_map: (B, student_channels, H, W).
            teacher_map: (B, teacher_channels, H, W); gets no gradient.
            boxes: (M, 4), ground truth: x centre, y centre, width, height as fractions of the padded input;
                M may be 0.
            image_index: (M,) integers, the image that each box belongs to.
            foreground: (B, H, W), weights of the level's cells, 0 in the background, in the place of the boxes; None
                paints the boxes.
            scores: (B, H, W), the teacher's largest class probability in each cell, for a method that needs them.

        Returns:
            The weighted terms as a NamedTuple of scalars, averaged over images, in float32 (float64 for float64
            maps) under autocast too. A term with weight 0 is not computed and is 0.

        Raises:
            ValueError: the maps differ in batch size or grid, or what the method needs is missing.
        """
        check_same_cells(student_map, teacher_map)
        target = self.prepare(teacher_map, LabelledObjects(boxes, image_index, foreground, scores))
        return self.terms(student_map, target)

    def prepare(self, teacher_map: Tensor, objects: LabelledObjects) -> Any:
        """Return what `terms` compares a student's map with; needs no student, so it can run beside one.

        It draws no random number, reads no trained weight, and no gradient passes it, so any thread may call it at any
        time before `terms`.

        Args:
            teacher_map: (B, teacher_channels, H, W), on the student's grid.
            objects: labelled objects of the level.

        Raises:
            ValueError: the shape of the boxes, of the foreground or of the scores is wrong.
        """
        with torch.no_grad(), torch.autocast(teacher_map.device.type, enabled=False):
            teacher_map = at_least_float32(teacher_map.detach())
            if teacher_map.device.type == "cpu":  # channels last is fast for convolutions, and slow for sums over cells
                teacher_map = teacher_map.contiguous()
            return self.target(teacher_map, objects) if any(self.weights) else FeatureTarget(teacher_map, objects)

    def terms(self, student_map: Tensor, target: Any) -> NamedTuple:
        """Compare a student's map with what `prepare` returned for the teacher's map of the same images.

        Args:
            student_map: (B, student_channels, H, W).
            target: the prepared target.

        Returns:
            The weighted terms, as `forward` returns them.

        Raises:
            ValueError: the maps differ in batch size or grid.
        """
        check_same_cells(student_map, target.map)
        with torch.autocast(student_map.device.type, enabled=False):
            student_map = align_student(student_map, self.align)
            if not any(self.weights):
                return type(self.weights)(*[student_map.new_zeros(())] * len(self.weights))
            return self.compare(student_map, target)

    def target(self, teacher_map: Tensor, objects: LabelledObjects) -> Any:
        """Return the target of a method; one that computes more than this has `map` too. At least one weight is not 0.

        Args:
            teacher_map: (B, C, H, W), at least float32, without gradient.
            objects: labelled objects of the level.
        """
        return FeatureTarget(teacher_map, objects)

    def compare(self, student_map: Tensor, target: Any) -> NamedTuple:
        """Return the weighted terms of a student's map; at least one weight is not 0.

        Args:
            student_map: (B, C, H, W), aligned, at least float32.
            target: what `target` returned.
        """
        raise NotImplementedError

    def trained_weights(self, item: str) -> dict[str, Tensor]:
        """Return the weights that the gradient of a loss item must reach, by their name in error messages."""
        return {} if self.align is None else {"alignment": self.align.weight}

    def is_empty(
        self,
        item: str,
        boxes: Tensor,
        image_index: Tensor,
        batch_size: int,
        grid: tuple[int, int],
        foreground: Tensor | None = None,
    ) -> bool:
        """Return whether a loss item is 0 by definition, because it covers no cell of this level with these objects."""
        return False
