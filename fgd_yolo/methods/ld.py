"""LD, localization distillation: the distributions of box edges, where the labels say that localization matters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fgd_yolo.config.method_options import LDOptions
from fgd_yolo.methods.box_terms import divergence, same_bins, same_frames, where_angles_agree
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, candidate_anchors, matched_anchors

LD_TEMPERATURE = LDOptions().ld_temperature


def ld_term(student: Predictions, targets: Sequence[HeadTarget], temperature: float = LD_TEMPERATURE) -> Sums | None:
    """Compare the edges' bins in the main region and in the valuable localization region.

    Convention:
        The cost of an anchor is T^2 KL(teacher || student) of the bins of an edge, both softened by the temperature T,
        mean over the four edges. The main region are the anchors that are assigned to a labelled box, the valuable
        region the other anchors inside a labelled box, which could have been. The term is the mean over the one plus
        the mean over the other, over images and teachers; only boxes of classes that the teacher knows count.
        It needs labels, and heads with DFL of the same number of bins. Rotated boxes: the rule of `box_term`.

    Source:
        LD, arXiv:2102.12252, section 3. Its valuable region are anchor boxes whose DIoU with a labelled box is a little
        below the threshold of the assignment; an anchor that is a point has no box, so here it is the assigner's
        candidates that were not chosen. The regions are averaged, so that a large object does not outweigh a small one;
        the authors' code weights anchors by the student's class score instead. It takes the mean over the bins of an
        edge, here it is their sum: with 16 bins 16 times as much at the same weight.
    """
    if student.matched is None or student.candidates is None:
        return None
    main, valuable = [], []
    for target in targets:
        if not (same_frames(student, target.outputs) and same_bins(student, target.outputs)):
            continue
        cost = divergence(student.boxes, target.outputs.boxes, temperature)
        cost = where_angles_agree(cost, student, target.outputs)
        matched = matched_anchors(student, target.columns) > 0
        main.append((cost, matched))
        valuable.append((cost, candidate_anchors(student, target.columns) & ~matched))
    if not main:
        return None
    cost = mean_of_chosen(main) + mean_of_chosen(valuable)
    return Sums(cost, cost.new_ones(()))


def mean_of_chosen(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean of the chosen costs of several teachers, 0 if none is chosen.

    Args:
        parts: costs (B, A) and which of them are chosen, of each teacher.
    """
    total = sum((cost * chosen).sum() for cost, chosen in parts)
    return total / sum(chosen.sum() for _, chosen in parts).clamp(min=1)
