"""PKD: Pearson correlation distillation, which compares standardised maps and so works between unlike detectors."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from fgd_yolo.config.method_options import PKDOptions
from fgd_yolo.methods.method import FeatureTarget, LabelledObjects, LevelLoss
from fgd_yolo.methods.standardisation import standardised


class PKDTerms(NamedTuple):
    """The weighted term of one level."""

    correlation: Tensor


class PKDLoss(LevelLoss):
    """Half of the mean squared difference between the standardised maps of student and teacher, on one level.

    Convention:
        Every channel of both maps gets mean 0 and variance 1 over the cells of all images of the batch. The term is
        then the mean over channels of 1 - r, with r Pearson's correlation of the two maps in a channel: 0 if they agree
        up to a positive factor and a constant, 1 if they are unrelated, 2 if they are opposite.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        weight: factor of the term; at 0 it is not computed.

    Source:
        PKD, arXiv:2207.02039, section 3.2. The necks there have the same width, so the alignment is not the paper's.
        The variance is that of the values, with 1e-5 added, as in batch normalisation; the authors' code takes the
        unbiased estimate, which makes their term smaller by a factor of 1 - 1 / (B * H * W), and adds 1e-6 to its root.
        Their weights are 10 for one-stage and 6 for two-stage detectors.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, weight: float = 1.0):
        super().__init__(student_channels, teacher_channels, PKDTerms(weight))

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: PKDOptions) -> PKDLoss:
        """Build the module of one level with the options of its method."""
        return cls(student_channels, teacher_channels, weight=options.correlation_weight)

    def target(self, teacher_map: Tensor, objects: LabelledObjects) -> FeatureTarget:
        """Return the standardised map of the teacher."""
        return FeatureTarget(standardised(teacher_map), objects)

    def compare(self, student_map: Tensor, target: FeatureTarget) -> PKDTerms:
        """Return the weighted term of a student's map."""
        difference = nn.functional.mse_loss(standardised(student_map), target.map)
        return PKDTerms(self.weights.correlation * difference / 2)
