"""The terms of the heads about keypoints: where they are, and whether they can be seen."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fgd_yolo.methods.box_terms import box_size
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, confident_sums, cross_entropy_excess


def keypoint_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare the places of every anchor's keypoints.

    Convention:
        The cost of a keypoint is the absolute difference, mean over x and y, divided by the size of the teacher's box,
        the root of its area with sides of at least one cell, and multiplied by the teacher's probability that the
        keypoint is visible (1 if it predicts none). Mean over keypoints. A teacher with another number of keypoints is
        not compared.
    """

    def compare(target: HeadTarget) -> tuple[Tensor, Tensor] | None:
        teacher = target.outputs
        if not _same_shape(student.keypoints, teacher.keypoints):
            return None
        size = box_size(teacher.boxes).prod(dim=1, keepdim=True).sqrt()
        cost = (student.keypoints - teacher.keypoints).abs().mean(dim=2) / size
        if teacher.visibility is not None:
            cost = cost * teacher.visibility.sigmoid()
        return cost.mean(dim=1), target.confidence

    return confident_sums(targets, compare)


def visibility_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare the visibility of every anchor's keypoints.

    Convention:
        The cost is the binary cross-entropy less the teacher's own entropy, so 0 where both agree. Mean over
        keypoints. A teacher with another number of keypoints is not compared.
    """

    def compare(target: HeadTarget) -> tuple[Tensor, Tensor] | None:
        teacher = target.outputs
        if not _same_shape(student.visibility, teacher.visibility):
            return None
        excess = cross_entropy_excess(student.visibility, teacher.visibility, teacher.visibility.sigmoid())
        return excess.mean(dim=1), target.confidence

    return confident_sums(targets, compare)


def _same_shape(student: Tensor | None, teacher: Tensor | None) -> bool:
    return student is not None and teacher is not None and student.shape == teacher.shape
