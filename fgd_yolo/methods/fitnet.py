"""FitNet's plain imitation of the teacher's map, the method that FGD starts from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.methods.alignment import alignment, comparable


class FitNetTerms(NamedTuple):
    """The weighted term of one level."""

    imitation: Tensor


class FitNetLoss(nn.Module):
    """Mean squared difference between the student's map and the teacher's, on one level.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. Where they differ, `align` brings the student's to it.
        weight: factor of the term; at 0 it is not computed.

    Source:
        FitNets, arXiv:1412.6550, in the form of FGD, arXiv:2111.11837, equation 1: the mean runs over C, H, W
        and images. Its f is a 1x1 convolution here.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, weight: float = 1.0):
        super().__init__()
        self.weight = weight
        self.align = alignment(student_channels, teacher_channels)

    def forward(self, student_map: Tensor, teacher_map: Tensor, boxes: Tensor, image_index: Tensor) -> FitNetTerms:
        """Compare two maps. The boxes are not read; they are taken so that every method is called alike.

        Args:
            student_map: (B, student_channels, H, W).
            teacher_map: (B, teacher_channels, H, W); gets no gradient.
            boxes: (M, 4), unused.
            image_index: (M,), unused.

        Returns:
            The weighted term, averaged over images, in float32 (float64 for float64 maps).

        Raises:
            ValueError: the maps differ in batch size or grid.
        """
        with torch.autocast(student_map.device.type, enabled=False):
            student_map, teacher_map = comparable(student_map, teacher_map, self.align)
            if not self.weight:
                return FitNetTerms(student_map.new_zeros(()))
            return FitNetTerms(self.weight * nn.functional.mse_loss(student_map, teacher_map))
