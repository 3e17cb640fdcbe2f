"""FitNet: plain imitation of the teacher's maps, which FGD refines."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from fgd_yolo.config.method_options import FitNetOptions
from fgd_yolo.methods.method import FeatureTarget, LevelLoss


class FitNetTerms(NamedTuple):
    """The weighted term of one level."""

    imitation: Tensor


class FitNetLoss(LevelLoss):
    """Mean squared difference between the student's map and the teacher's, on one level.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        weight: factor of the term; at 0 it is not computed.

    Source:
        FitNets, arXiv:1412.6550, in the form of FGD, arXiv:2111.11837, equation 1: the mean runs over C, H, W
        and images. Its f is a 1x1 convolution here.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, weight: float = 1.0):
        super().__init__(student_channels, teacher_channels, FitNetTerms(weight))

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: FitNetOptions) -> FitNetLoss:
        """Build the module of one level with the options of its method."""
        return cls(student_channels, teacher_channels, weight=options.imitation_weight)

    def compare(self, student_map: Tensor, target: FeatureTarget) -> FitNetTerms:
        """Return the weighted term of a student's map."""
        return FitNetTerms(self.weights.imitation * nn.functional.mse_loss(student_map, target.map))
