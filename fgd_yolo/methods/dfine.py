"""D-FINE's decoupled distillation of box edges: anchors with and without an object, each with its own share."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fgd_yolo.config.method_options import DFineOptions
from fgd_yolo.methods.box_terms import divergence, same_bins, same_frames, where_angles_agree
from fgd_yolo.methods.ld import mean_of_chosen
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, matched_anchors

DFINE_TEMPERATURE = DFineOptions().dfine_temperature


def dfine_term(
    student: Predictions, targets: Sequence[HeadTarget], temperature: float = DFINE_TEMPERATURE
) -> Sums | None:
    """Compare the edges' bins at every anchor; few anchors with an object count as much as many without.

    Convention:
        The cost of an anchor is w T^2 KL(teacher || student) of the bins of an edge, both softened by the temperature
        T, mean over the four edges. If the anchor is assigned to a labelled box of a class that the teacher knows, w is
        the overlap of the student's box with it, otherwise the teacher's confidence. The term is
        (sqrt(K_m) mean_m + sqrt(K_u) mean_u) / (sqrt(K_m) + sqrt(K_u)), m the assigned anchors of all images and
        teachers, u the others, K their number.
        It needs labels, and heads with DFL of the same number of bins. Rotated boxes: the rule of `box_term`.

    Source:
        D-FINE, arXiv:2410.13842, section 4.2, the decoupled distillation focal loss. There the last layer of a decoder
        teaches the others and queries are matched; here a teacher teaches, and the anchors are those that the
        student's own assigner has chosen.
    """
    if student.matched is None:
        return None
    with_object, without = [], []
    for target in targets:
        if not (same_frames(student, target.outputs) and same_bins(student, target.outputs)):
            continue
        overlap = matched_anchors(student, target.columns)
        matched = overlap > 0
        weight = torch.where(matched, overlap, target.confidence)
        cost = weight * divergence(student.boxes, target.outputs.boxes, temperature)
        cost = where_angles_agree(cost, student, target.outputs)
        with_object.append((cost, matched))
        without.append((cost, ~matched))
    if not with_object:
        return None
    shares = [sum(chosen.sum() for _, chosen in part).sqrt() for part in (with_object, without)]
    means = [mean_of_chosen(part) for part in (with_object, without)]
    total = sum(share * mean for share, mean in zip(shares, means, strict=True)) / sum(shares)
    return Sums(total, total.new_ones(()))
