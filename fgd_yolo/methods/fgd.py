"""FGD: Focal and Global Distillation, the default method."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fgd_yolo.config.method_options import FGDOptions
from fgd_yolo.methods.attention_maps import Attention, attention, attention_of_sizes, capped
from fgd_yolo.methods.box_masks import background_weights, foreground_weights
from fgd_yolo.methods.global_context import GlobalContext
from fgd_yolo.methods.method import LabelledObjects, LevelLoss
from fgd_yolo.methods.reductions import reduce_maps
from fgd_yolo.methods.standardisation import standardised

_TEMPERATURE = FGDOptions().temperature


class FGDTerms(NamedTuple):
    """The weighted terms of one level; their sum is the level's loss."""

    fg: Tensor
    bg: Tensor
    attn: Tensor
    rel: Tensor


class FGDTarget(NamedTuple):
    """What the terms of one level need of the teacher and the labels; None if no weight asks for it.

    Args:
        map: (B, C, H, W), the teacher's map, standardised if the terms are scale-free.
        attention: the teacher's attention.
        inside: (B, H, W), weights of the foreground's cells in the sum of squared differences.
        outside: (B, H, W), those of the background's.
    """

    map: Tensor
    attention: Attention | None
    inside: Tensor | None
    outside: Tensor | None


class FGDLoss(LevelLoss):
    """Foreground, background, attention and relation terms between a student's map and its teacher's.

    Convention:
        The squared difference is weighted by mask * spatial attention * channel attention of the teacher.
        free=False: every term is a sum over C, H and W divided by the images, so it grows with the level's
        size and with the size of the teacher's values.
        free=True: both maps are standardised per channel, attention is capped at 10 times its mean, and every
        term is a weighted mean (of the squared difference by its weights, of the others over C, H, W and images),
        so it is of order 1 for every width, resolution and teacher.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        temperature: T of both attentions, above 0.
        fg_weight: alpha, squared difference inside objects: the boxes, or the painted foreground.
        bg_weight: beta, squared difference outside objects.
        attn_weight: gamma, absolute difference of the attentions.
        rel_weight: lambda, squared difference after the context blocks.
            A term whose weight is 0 is not computed.
        free: True for the scale-free terms, False for the authors' sums.

    Source:
        FGD, arXiv:2111.11837, section 3, with the authors' code where it is more specific: attention of the
        aligned student, sums and not means, both context blocks trained. free=True departs from it as described above.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        temperature: float = _TEMPERATURE,
        fg_weight: float,
        bg_weight: float,
        attn_weight: float,
        rel_weight: float,
        free: bool,
    ):
        super().__init__(student_channels, teacher_channels, FGDTerms(fg_weight, bg_weight, attn_weight, rel_weight))
        self.free = free
        self.temperature = temperature
        self.student_context = GlobalContext(teacher_channels)
        self.teacher_context = GlobalContext(teacher_channels)

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: FGDOptions) -> FGDLoss:
        """Build the module of one level with the options of its method."""
        return cls(
            student_channels,
            teacher_channels,
            temperature=options.temperature,
            fg_weight=options.fg_weight,
            bg_weight=options.bg_weight,
            attn_weight=options.attn_weight,
            rel_weight=options.rel_weight,
            free=options.scale == "free",
        )

    def target(self, teacher_map: Tensor, objects: LabelledObjects) -> FGDTarget:
        """Return the teacher's map and attention, and the weights of the cells.

        Raises:
            ValueError: the shape of the boxes or of the foreground is wrong.
        """
        teacher_map = standardised(teacher_map) if self.free else teacher_map
        own = inside = outside = None
        if self._focal or self.weights.attn:
            own = self._capped(attention(teacher_map, self.temperature))
        if self._focal:
            B, C, H, W = teacher_map.shape
            boxes, image_index = objects.boxes.to(teacher_map), objects.image_index.to(teacher_map.device)
            filled = _foreground(boxes, image_index, B, (H, W), objects.foreground).to(teacher_map)
            inside = self._divided(filled * own.spatial, C) if self.weights.fg else None
            outside = self._divided(background_weights(filled) * own.spatial, C) if self.weights.bg else None
        return FGDTarget(teacher_map, own, inside, outside)

    def compare(self, student_map: Tensor, target: FGDTarget) -> FGDTerms:
        """Return the four weighted terms of a student's map."""
        fg = bg = attn = rel = student_map.new_zeros(())
        B, C, H, W = student_map.shape
        fg_weight, bg_weight, attn_weight, rel_weight = self.weights
        sums = reduce_maps(
            student_map,
            target.map,
            standardised=self.free,
            sizes=bool(attn_weight),
            channel_weight=target.attention.channel if self._focal else None,
            key=self.student_context.key if rel_weight else None,
        )
        if self._focal:
            cells = sums.weighted_square.view(B, H, W)
            fg = fg_weight * (cells * target.inside).sum() if fg_weight else fg
            bg = bg_weight * (cells * target.outside).sum() if bg_weight else bg
        if attn_weight:
            learnt = self._capped(attention_of_sizes(sums.cell_size, sums.channel_size, (H, W), self.temperature))
            gaps = [(own - taught).abs() for own, taught in zip(learnt, target.attention, strict=True)]
            attn = attn_weight * sum(gap.mean() if self.free else gap.sum() / B for gap in gaps)
        if rel_weight:
            shift = self.student_context.shift_of_context(sums.context)
            shift = shift - self.teacher_context.shift(target.map)
            # Sum of (d + shift)^2 over cells: the part that varies within a channel, and the part that is constant.
            constant = (sums.mean_gap + shift.flatten(1)).square().sum()
            values = B * C * H * W if self.free else B
            rel = rel_weight * (sums.spread.sum() + H * W * constant) / values
        return FGDTerms(fg, bg, attn, rel)

    def trained_weights(self, item: str) -> dict[str, Tensor]:
        """Return the alignment's weights and, for the relation term, those of the context blocks' last convolutions."""
        trained = super().trained_weights(item)
        if item == "rel_loss":
            for side in ("student", "teacher"):
                trained[f"{side} context block"] = getattr(self, f"{side}_context").transform[-1].weight
        return trained

    def is_empty(
        self,
        item: str,
        boxes: Tensor,
        image_index: Tensor,
        batch_size: int,
        grid: tuple[int, int],
        foreground: Tensor | None = None,
    ) -> bool:
        """Return whether there is no foreground, or no background: objects fill every cell of every image."""
        if item not in ("fg_loss", "bg_loss"):
            return False
        inside = _foreground(boxes, image_index, batch_size, grid, foreground) != 0
        return not inside.any() if item == "fg_loss" else bool(inside.all())

    def _capped(self, attention: Attention) -> Attention:
        return capped(attention) if self.free else attention

    @property
    def _focal(self) -> bool:
        return bool(self.weights.fg or self.weights.bg)

    def _divided(self, weights: Tensor, channels: int) -> Tensor:
        """Divide weights of cells by the images or, if free, by their sum over cells and channels: for a mean."""
        if not self.free:
            return weights / len(weights)
        return weights / (channels * weights.sum()).clamp(min=torch.finfo(weights.dtype).tiny)


def _foreground(
    boxes: Tensor, image_index: Tensor, batch_size: int, grid: tuple[int, int], foreground: Tensor | None
) -> Tensor:
    """Return the painted foreground or, if there is none, that of the boxes.

    Raises:
        ValueError: the foreground is not (B, H, W), or the boxes' shape is wrong.
    """
    if foreground is None:
        return foreground_weights(boxes, image_index, batch_size, grid)
    if foreground.shape != (batch_size, *grid):
        raise ValueError(f"foreground must be {(batch_size, *grid)} on this level, got {tuple(foreground.shape)}")
    return foreground
