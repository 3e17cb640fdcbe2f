"""Base classes of a distillation method: its options, and the loss module that they build for each level."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from fgd_yolo.checked_options import Options
from fgd_yolo.methods.alignment import alignment
from fgd_yolo.methods.attention_maps import AttentionSettings


class LevelLoss(nn.Module):
    """Base class of a method's loss module: the terms between a student's map and its teacher's on one level.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
    """

    def __init__(self, student_channels: int, teacher_channels: int):
        super().__init__()
        self.align = alignment(student_channels, teacher_channels)

    def forward(self, student_map: Tensor, teacher_map: Tensor, boxes: Tensor, image_index: Tensor) -> NamedTuple:
        """Compare two maps of the same images.

        Args:
            student_map: (B, student_channels, H, W).
            teacher_map: (B, teacher_channels, H, W); gets no gradient.
            boxes: (M, 4), ground truth: x centre, y centre, width, height as fractions of the padded input;
                M may be 0.
            image_index: (M,) integers, the image that each box belongs to.

        Returns:
            The weighted terms as a NamedTuple of scalars, averaged over images, in float32 (float64 for float64
            maps) under autocast too. A term with weight 0 is not computed and is 0.

        Raises:
            ValueError: the maps differ in batch size or grid.
        """
        raise NotImplementedError

    def trained_weights(self, item: str) -> dict[str, Tensor]:
        """Return the weights that the gradient of a loss item must reach, by their name in error messages."""
        return {} if self.align is None else {"alignment": self.align.weight}

    def is_empty(self, item: str, boxes: Tensor, image_index: Tensor, batch_size: int, grid: tuple[int, int]) -> bool:
        """Return whether a loss item is 0 by definition, because with these boxes it covers no cell of this level."""
        return False


class MethodOptions(Options):
    """Base class of a method's own options; each subclass is a row of `METHODS`.

    Convention:
        An option `x_weight` is the weight of the term `x` of the loss module, whose loss item is called `x_loss`.
        The options are declared in the order of the terms.
    """

    kind = "method option"
    imitates_heads: ClassVar[bool] = False
    """Default of the option `heads`."""

    def level_loss(self, student_channels: int, teacher_channels: int) -> LevelLoss:
        """Build the loss module of one level."""
        raise NotImplementedError

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term, by the name of its loss item."""
        return {f"{name.removesuffix('_weight')}_loss": value for name, value in self if name.endswith("_weight")}

    @property
    def attention_settings(self) -> AttentionSettings:
        """How the attention in the figures of a training is computed."""
        return AttentionSettings()
