"""Imitation of the teacher's head: class scores and box edges of every anchor, combined with any method."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgd_yolo.methods.alignment import at_least_float32

BOX_TEMPERATURE = 10.0


class Predictions(NamedTuple):
    """Raw outputs of a head: `boxes` (B, 4 * bins, A) and class logits `scores` (B, classes, A), for A anchors."""

    boxes: Tensor
    scores: Tensor


class HeadTerms(NamedTuple):
    """The weighted terms of one branch of a head."""

    cls: Tensor
    box: Tensor


class HeadLoss(nn.Module):
    """Class and box terms between the raw outputs of a student's head and its teacher's, anchor by anchor.

    Convention:
        The teacher's confidence in an anchor is its largest class probability there. Both terms are divided by the
        sum of the confidences over the batch (at least 1), as Ultralytics divides its own losses by the sum of its
        target scores: background counts where the student sees an object that the teacher does not.
        cls: binary cross-entropy of every class less the teacher's own entropy, so 0 where both agree, weighted
        by the difference of the two probabilities.
        box: weighted by the teacher's confidence, mean over the four edges. Where both heads predict the same number
        of bins per edge (DFL), it is the Kullback-Leibler divergence of the bins, softened by a temperature of 10
        and multiplied by its square. Otherwise the absolute difference of the distances, in halves of the
        teacher's box size in that direction.

    Args:
        cls_weight: factor of the class term; at 0 it is not computed.
        box_weight: factor of the box term; at 0 it is not computed.

    Source:
        Class term: BCKD, arXiv:2308.14286, with the weight held constant and another divisor. Box term: LD,
        arXiv:2102.12252, with the teacher's confidence in place of its regions.
    """

    def __init__(self, cls_weight: float = 1.0, box_weight: float = 1.0):
        super().__init__()
        self.weights = HeadTerms(cls_weight, box_weight)

    def forward(self, student: Predictions, teacher: Predictions) -> HeadTerms:
        """Compare two heads' outputs for the same anchors, in float32 (float64 for float64 outputs).

        Args:
            student: raw outputs of the student's head, with gradient.
            teacher: raw outputs of the teacher's head for the same anchors and classes; gets no gradient.

        Returns:
            Both weighted terms, scalars, averaged over the batch's confident anchors.
        """
        with torch.autocast(student.scores.device.type, enabled=False):
            student = Predictions(*map(at_least_float32, student))
            teacher = Predictions(*(at_least_float32(output.detach()) for output in teacher))
            probability = teacher.scores.sigmoid()
            confidence = probability.amax(dim=1)
            total = confidence.sum().clamp(min=1)
            cls_term = box_term = total.new_zeros(())
            if self.weights.cls:
                cost = F.binary_cross_entropy_with_logits(student.scores, probability, reduction="none")
                entropy = F.binary_cross_entropy_with_logits(teacher.scores, probability, reduction="none")
                gap = (student.scores.detach().sigmoid() - probability).abs()
                cls_term = self.weights.cls * ((cost - entropy) * gap).sum() / total
            if self.weights.box:
                same_bins = student.boxes.shape == teacher.boxes.shape and student.boxes.shape[1] > 4
                cost = (divergence if same_bins else edge_gap)(student.boxes, teacher.boxes)
                box_term = self.weights.box * (cost * confidence).sum() / total
            return HeadTerms(cls_term, box_term)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the softened divergence of the edges' bins, (B, 4 * bins, A) each, as (B, A)."""
    softened = [F.log_softmax(boxes.unflatten(1, (4, -1)) / BOX_TEMPERATURE, dim=2) for boxes in (student, teacher)]
    return BOX_TEMPERATURE**2 * F.kl_div(*softened, reduction="none", log_target=True).sum(dim=2).mean(dim=1)


def edge_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean gap of the four edges in halves of the teacher's box, (B, 4 * bins, A) each, as (B, A)."""
    student, teacher = edge_distances(student), edge_distances(teacher)
    half_size = ((teacher[:, :2] + teacher[:, 2:]) / 2).clamp(min=0.5).repeat(1, 2, 1)  # at least half a cell
    return ((student - teacher).abs() / half_size).mean(dim=1)


def edge_distances(boxes: Tensor) -> Tensor:
    """Return left, top, right and bottom distances from the anchor in cells, (B, 4 * bins, A) as (B, 4, A)."""
    bins = boxes.unflatten(1, (4, -1))
    if bins.shape[2] == 1:
        return bins.squeeze(2)
    numbers = torch.arange(bins.shape[2], device=boxes.device, dtype=boxes.dtype)
    return (bins.softmax(dim=2) * numbers[:, None]).sum(dim=2)
