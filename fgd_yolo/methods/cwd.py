"""CWD: channel-wise distillation, which compares the spatial distributions of the channels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from fgd_yolo.config.method_options import CWDOptions
from fgd_yolo.methods.method import FeatureTarget, LabelledObjects, LevelLoss


class CWDTerms(NamedTuple):
    """The weighted term of one level."""

    channel: Tensor


class CWDLoss(LevelLoss):
    """Divergence between the student's and the teacher's distribution over the cells, channel by channel.

    Convention:
        A channel becomes a distribution over its cells, the softmax of F / T: p for the student, q for the teacher. The
        term is T^2 times the Kullback-Leibler divergence, the sum of q log(q / p) over cells, averaged over channels
        and images. A constant added to a channel changes nothing.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        temperature: T, above 0.
        weight: factor of the term; at 0 it is not computed.

    Source:
        Channel-wise Knowledge Distillation for Dense Prediction, arXiv:2011.13256, section 3.2. The mean over images is
        from the authors' code.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, temperature: float, weight: float = 1.0):
        super().__init__(student_channels, teacher_channels, CWDTerms(weight))
        self.temperature = temperature

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: CWDOptions) -> CWDLoss:
        """Build the module of one level with the options of its method."""
        return cls(
            student_channels, teacher_channels, temperature=options.channel_temperature, weight=options.channel_weight
        )

    def target(self, teacher_map: Tensor, objects: LabelledObjects) -> FeatureTarget:
        """Return the logarithms of the teacher's distributions, in the shape of its map."""
        return FeatureTarget(self._distributions(teacher_map), objects)

    def compare(self, student_map: Tensor, target: FeatureTarget) -> CWDTerms:
        """Return the weighted term of a student's map."""
        student = self._distributions(student_map)
        divergence = nn.functional.kl_div(student, target.map, reduction="sum", log_target=True)
        B, C = student_map.shape[:2]
        return CWDTerms(self.weights.channel * self.temperature**2 * divergence / (B * C))

    def _distributions(self, feature_map: Tensor) -> Tensor:
        cells = nn.functional.log_softmax(feature_map.flatten(2) / self.temperature, dim=2)
        return cells.view_as(feature_map)
