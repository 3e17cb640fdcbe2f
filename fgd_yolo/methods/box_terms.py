"""The terms of the heads about boxes: their edges and, of rotated boxes, their angles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, confident_sums

BOX_TEMPERATURE = 10.0
MIN_SIZE = 1.0  # cells; smaller boxes are taken for this large where a difference is related to their size


def box_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare the four edges of every anchor's box.

    Convention:
        Where both heads predict the same number of bins per edge (DFL), the cost is the Kullback-Leibler divergence of
        the bins, softened by a temperature of 10 and multiplied by its square. Otherwise it is the absolute difference
        of the distances, in halves of the teacher's box size in that direction. Mean over the four edges.
        The edges of a rotated box lie in its own frame, so they are compared only as far as the angles agree: the cost
        is multiplied by cos 2d, d the difference of the angles, and is 0 from 45 degrees on. It is 0 too where the
        boxes point in opposite directions, since left is right there. Rotated boxes are not compared with upright ones.

    Source:
        LD, arXiv:2102.12252, with the teacher's confidence in place of its regions.
    """

    def compare(target: HeadTarget) -> tuple[Tensor, Tensor] | None:
        teacher = target.outputs
        if not same_frames(student, teacher):
            return None
        cost = (divergence if same_bins(student, teacher) else edge_gap)(student.boxes, teacher.boxes)
        return where_angles_agree(cost, student, teacher), target.confidence

    return confident_sums(targets, compare)


def angle_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare the angles of every anchor's rotated box.

    Convention:
        The cost is sin^2 of the difference, which is the same for every number of half turns, times how far the
        teacher's box is from square: 1 - shorter / longer side. A square has no angle to learn.
    """

    def compare(target: HeadTarget) -> tuple[Tensor, Tensor] | None:
        teacher = target.outputs
        if student.angles is None or teacher.angles is None:
            return None
        size = box_size(teacher.boxes)
        elongation = 1 - size.amin(dim=1) / size.amax(dim=1)
        return (student.angles - teacher.angles).squeeze(1).sin().square() * elongation, target.confidence

    return confident_sums(targets, compare)


def same_frames(student: Predictions, teacher: Predictions) -> bool:
    """Return whether both heads predict upright boxes, or both rotated ones."""
    return (student.angles is None) == (teacher.angles is None)


def same_bins(student: Predictions, teacher: Predictions) -> bool:
    """Return whether both heads predict a distribution for each edge (DFL), over the same number of bins."""
    return student.boxes.shape == teacher.boxes.shape and student.boxes.shape[1] > 4


def where_angles_agree(cost: Tensor, student: Predictions, teacher: Predictions) -> Tensor:
    """Return the cost of edges (B, A) as far as the angles of rotated boxes agree, as in `box_term`."""
    if teacher.angles is None:
        return cost
    difference = (student.angles.detach() - teacher.angles).squeeze(1)
    return cost * ((2 * difference).cos().clamp(min=0) * (difference.cos() > 0))


def divergence(student: Tensor, teacher: Tensor, temperature: float = BOX_TEMPERATURE) -> Tensor:
    """Return the softened divergence of the edges' bins, (B, 4 * bins, A) each, as (B, A)."""
    softened = [F.log_softmax(boxes.unflatten(1, (4, -1)) / temperature, dim=2) for boxes in (student, teacher)]
    return temperature**2 * F.kl_div(*softened, reduction="none", log_target=True).sum(dim=2).mean(dim=1)


def edge_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean gap of the four edges in halves of the teacher's box, (B, 4 * bins, A) each, as (B, A)."""
    student, teacher = edge_distances(student), edge_distances(teacher)
    half_size = ((teacher[:, :2] + teacher[:, 2:]) / 2).clamp(min=MIN_SIZE / 2).repeat(1, 2, 1)
    return ((student - teacher).abs() / half_size).mean(dim=1)


def edge_distances(boxes: Tensor) -> Tensor:
    """Return left, top, right and bottom distances from the anchor in cells, (B, 4 * bins, A) as (B, 4, A)."""
    bins = boxes.unflatten(1, (4, -1))
    if bins.shape[2] == 1:
        return bins.squeeze(2)
    numbers = torch.arange(bins.shape[2], device=boxes.device, dtype=boxes.dtype)
    return (bins.softmax(dim=2) * numbers[:, None]).sum(dim=2)


def box_size(boxes: Tensor) -> Tensor:
    """Return width and height in cells, at least one, (B, 4 * bins, A) as (B, 2, A)."""
    edges = edge_distances(boxes)
    return (edges[:, :2] + edges[:, 2:]).clamp(min=MIN_SIZE)
