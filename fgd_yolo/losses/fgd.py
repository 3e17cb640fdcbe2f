"""Focal and Global Distillation of one feature level."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.losses.alignment import alignment, comparable
from fgd_yolo.losses.attention import attention, attention_of_sizes
from fgd_yolo.losses.masks import background_weights, foreground_weights
from fgd_yolo.losses.reductions import reduce_maps
from fgd_yolo.losses.relation import GlobalContext


class FGDTerms(NamedTuple):
    """The weighted terms of one level; their sum is the level's loss."""

    fg: Tensor
    bg: Tensor
    attn: Tensor
    rel: Tensor


class FGDLoss(nn.Module):
    """Foreground, background, attention and relation terms between a student's map and its teacher's.

    Convention:
        Every term is a sum over C, H and W divided by the images: it grows with the level's size.
        The squared difference is weighted by mask * spatial attention * channel attention of the teacher.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. Where they differ, `align` brings the student's to it.
        temperature: T of both attentions, above 0.
        fg_weight: alpha, squared difference inside boxes.
        bg_weight: beta, squared difference outside boxes.
        attn_weight: gamma, absolute difference of the attentions.
        rel_weight: lambda, squared difference after the context blocks.
            A term whose weight is 0 is not computed.
        scale: arithmetic of the terms; "paper" is the authors'.

    Raises:
        ValueError: another scale.

    Source:
        FGD, arXiv:2111.11837, section 3, with the authors' code where it is more specific: attention of the
        aligned student, sums and not means, both context blocks trained.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        temperature: float = 0.5,
        fg_weight: float,
        bg_weight: float,
        attn_weight: float,
        rel_weight: float,
        scale: str = "paper",
    ):
        super().__init__()
        if scale != "paper":
            raise ValueError(f"scale '{scale}' is unknown (known: paper)")
        self.temperature = temperature
        self.weights = FGDTerms(fg_weight, bg_weight, attn_weight, rel_weight)
        self.align = alignment(student_channels, teacher_channels)
        self.student_context = GlobalContext(teacher_channels)
        self.teacher_context = GlobalContext(teacher_channels)

    def forward(self, student_map: Tensor, teacher_map: Tensor, boxes: Tensor, image_index: Tensor) -> FGDTerms:
        """Compare two maps of the same images, in float32 (float64 for float64 maps) under autocast too.

        Args:
            student_map: (B, student_channels, H, W).
            teacher_map: (B, teacher_channels, H, W); gets no gradient.
            boxes: (M, 4), ground truth: x centre, y centre, width, height as fractions of the padded input;
                M may be 0.
            image_index: (M,) whole numbers, which image each box belongs to.

        Returns:
            The four weighted terms, scalars, averaged over images.

        Raises:
            ValueError: the maps differ in batch size or grid, or the boxes' shape is wrong.
        """
        with torch.autocast(student_map.device.type, enabled=False):
            student_map, teacher_map = comparable(student_map, teacher_map, self.align)
            fg = bg = attn = rel = student_map.new_zeros(())
            if not any(self.weights):
                return FGDTerms(fg, bg, attn, rel)
            B, _, H, W = student_map.shape
            fg_weight, bg_weight, attn_weight, rel_weight = (weight / B for weight in self.weights)
            focal = bool(fg_weight or bg_weight)
            focus = attention(teacher_map, self.temperature) if focal or attn_weight else None
            sums = reduce_maps(
                student_map,
                teacher_map,
                sizes=bool(attn_weight),
                channel_weight=focus.channel if focal else None,
                key=self.student_context.key if rel_weight else None,
            )
            if focal:
                cells = sums.weighted_square.view(B, H, W) * focus.spatial
                inside = foreground_weights(boxes.to(cells), image_index.to(cells.device), B, (H, W))
                fg = fg_weight * (cells * inside).sum() if fg_weight else fg
                bg = bg_weight * (cells * background_weights(inside)).sum() if bg_weight else bg
            if attn_weight:
                mine = attention_of_sizes(sums.cell_size, sums.channel_size, (H, W), self.temperature)
                attn = (mine.spatial - focus.spatial).abs().sum() + (mine.channel - focus.channel).abs().sum()
                attn = attn_weight * attn
            if rel_weight:
                shift = self.student_context.shift_of_context(sums.context)
                shift = shift - self.teacher_context.shift(teacher_map)
                # The squares of d + shift: what varies within a channel, and what all its cells share.
                constant = (sums.mean_gap + shift.flatten(1)).square().sum()
                rel = rel_weight * (sums.spread.sum() + H * W * constant)
            return FGDTerms(fg, bg, attn, rel)
