"""Score-weighted L2: imitation of the teacher's maps where the teacher sees objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fgd_yolo.config.method_options import ScoreL2Options
from fgd_yolo.methods.method import FeatureTarget, LabelledObjects, LevelLoss


class ScoreL2Terms(NamedTuple):
    """The weighted term of one level."""

    score: Tensor


class ScoreL2Loss(LevelLoss):
    """Squared difference between the student's map and the teacher's, weighted by the teacher's scores, on one level.

    Convention:
        The weight of a cell is the teacher's largest class probability there. The term is the sum of the weighted
        squared differences over C, H, W and images, divided by C times the sum of the weights: a weighted mean. An
        image in which the teacher sees more counts more. No labels are needed.

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map. If they differ, `align` maps the student's channels to it.
        weight: factor of the term; at 0 it is not computed.

    Source:
        The distillation of Ultralytics (`distill_model=`, version 8.4, its `loss_sl2`): the same term of the same maps
        and scores. It departs in the alignment, which is there two 1x1 convolutions with a ReLU between them for every
        level, and here one 1x1 convolution where the widths differ. Its weight is 6 there.
    """

    needs_scores = True

    def __init__(self, student_channels: int, teacher_channels: int, *, weight: float = 1.0):
        super().__init__(student_channels, teacher_channels, ScoreL2Terms(weight))

    @classmethod
    def from_options(cls, student_channels: int, teacher_channels: int, options: ScoreL2Options) -> ScoreL2Loss:
        """Build the module of one level with the options of its method."""
        return cls(student_channels, teacher_channels, weight=options.score_weight)

    def target(self, teacher_map: Tensor, objects: LabelledObjects) -> FeatureTarget:
        """Return the teacher's map and scores.

        Raises:
            ValueError: the scores are missing or not (B, H, W).
        """
        B, _, H, W = teacher_map.shape
        scores = objects.scores
        if scores is None or scores.shape != (B, H, W):
            got = None if scores is None else tuple(scores.shape)
            raise ValueError(f"score_l2 needs the teacher's scores {(B, H, W)} on this level, got {got}")
        return FeatureTarget(teacher_map, objects._replace(scores=scores.detach().to(teacher_map)))

    def compare(self, student_map: Tensor, target: FeatureTarget) -> ScoreL2Terms:
        """Return the weighted term of a student's map."""
        scores = target.objects.scores
        cells = (student_map - target.map).square().sum(dim=1)
        weights = (student_map.shape[1] * scores.sum()).clamp(min=torch.finfo(scores.dtype).tiny)
        return ScoreL2Terms(self.weights.score * (cells * scores).sum() / weights)
