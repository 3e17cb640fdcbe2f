"""Base class of the loss module that a distillation method has for each level."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.config import FeatureOptions
from fgd_yolo.methods.alignment import align_maps, alignment


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
        with torch.autocast(student_map.device.type, enabled=False):
            student_map, teacher_map = align_maps(student_map, teacher_map, self.align)
            if not any(self.weights):
                return type(self.weights)(*[student_map.new_zeros(())] * len(self.weights))
            return self.compare(student_map, teacher_map, LabelledObjects(boxes, image_index, foreground, scores))

    def compare(self, student_map: Tensor, teacher_map: Tensor, objects: LabelledObjects) -> NamedTuple:
        """Return the weighted terms of two maps; at least one weight is not 0.

        Args:
            student_map: (B, C, H, W), aligned, at least float32.
            teacher_map: (B, C, H, W), without gradient.
            objects: labelled objects of the level, on the device of the boxes that were given.
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
