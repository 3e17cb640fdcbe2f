"""BCKD's class term: the heads' class scores as binary problems, weighted by how far they differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from fgd_yolo.methods.class_term import joined_target
from fgd_yolo.methods.placement import columns_of
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, number_matched


def bckd_cls_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare the scores of all classes that a teacher knows, at every anchor.

    Convention:
        The cost of a class is |p_t - p_s| * BCE(p_s, p_t), p_s and p_t the student's and the teacher's probability; the
        gradient passes through both factors. Sum over classes, anchors and images, divided by N, the number of anchors
        that are assigned to a labelled box of these classes; an image without any counts as one.
        With several teachers, p_t is the mean over those that know the class. Without labels there is no N, and None is
        returned.

    Source:
        BCKD, arXiv:2308.14286, binary classification distillation, with N and the gradient of the weight as in the
        authors' code. The term `cls` holds the weight constant, subtracts the teacher's entropy, which changes no
        gradient then, and divides by the teacher's confidences.
    """
    if student.matched is None:
        return None
    columns, _, probability, _ = joined_target(targets)
    scores = columns_of(student.scores, columns)
    gap = (scores.sigmoid() - probability).abs()
    cost = gap * F.binary_cross_entropy_with_logits(scores, probability, reduction="none")
    return Sums(cost.sum(), number_matched(student, columns))
