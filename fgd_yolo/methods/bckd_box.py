"""BCKD's box term: the overlap of the heads' boxes, weighted by how far their class scores differ."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fgd_yolo.methods.box_terms import edge_distances, same_frames, where_angles_agree
from fgd_yolo.methods.placement import columns_of
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, number_matched

SMALLEST_AREA = 1e-7  # square cells


def bckd_box_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare the boxes of every anchor, with or without DFL on either side.

    Convention:
        The cost of an anchor is w * (1 - GIoU) of both boxes, w = max_c |p_t - p_s| over the classes that the teacher
        knows, without gradient. Sum over teachers, anchors and images, divided by the sum over teachers of N, the
        number of anchors that are assigned to a labelled box of these classes; an image without any counts as one.
        Without labels there is no N, and None is returned.
        Rotated boxes are compared in frames of their own, as far as their angles agree, and not with upright ones: the
        rule of `box_term`.

    Source:
        BCKD, arXiv:2308.14286, IoU-based localization distillation, with GIoU and N as in the authors' code. The
        authors' factor 4 is the default of the term's weight. They leave out a level without an assigned anchor; here
        the sum runs over all.
    """
    if student.matched is None:
        return None
    cost, divisor = 0.0, 0.0
    compared = [target for target in targets if same_frames(student, target.outputs)]
    for target in compared:
        scores = columns_of(student.scores, target.columns)
        weight = (scores.detach().sigmoid() - target.probability).abs().amax(dim=1)
        overlap = generalised_overlap(student.boxes, target.outputs.boxes)
        cost = cost + where_angles_agree(weight * (1 - overlap), student, target.outputs).sum()
        divisor = divisor + number_matched(student, target.columns)
    return Sums(cost, divisor) if compared else None


def generalised_overlap(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the GIoU of two boxes of one anchor, each raw edges (B, 4 * bins, A), as (B, A) in [-1, 1].

    Convention:
        Both boxes are given by their distances from one point, so the anchors are not needed, and the unit cancels. A
        box whose edges have changed sides has no width, or no height.

    Source:
        GIoU, arXiv:1902.09630, equation 1 and algorithm 1.
    """
    student, teacher = edge_distances(student), edge_distances(teacher)
    union = _area(student) + _area(teacher)
    overlap = _area(student.minimum(teacher))
    union = (union - overlap).clamp(min=SMALLEST_AREA)
    enclosing = _area(student.maximum(teacher)).clamp(min=SMALLEST_AREA)
    return overlap / union - (enclosing - union) / enclosing


def _area(distances: Tensor) -> Tensor:
    """Return the areas (B, A) of boxes given by left, top, right and bottom distances (B, 4, A)."""
    return (distances[:, :2] + distances[:, 2:]).clamp(min=0).prod(dim=1)
