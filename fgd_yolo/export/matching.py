"""When two sets of boxes, or two tensors of them, are the same: the arithmetic of the comparison."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torchvision.ops import box_iou  # once torchvision is imported, the host's NMS uses it too
from ultralytics.utils.metrics import batch_probiou
from ultralytics.utils.nms import non_max_suppression

CONFIDENCE, OVERLAP = 0.25, 0.7  # the host's thresholds in prediction, which embedded NMS has too
ROTATED_CHAIN = 0.25  # two boxes that both overlap a third by 0.7 overlap each other by some 0.45
LIKE = 0.5  # overlap of two boxes that show one object, where exact equality is not asked for


class Tolerance(NamedTuple):
    """Largest differences that are rounding.

    Args:
        box_px: of a box coordinate.
        score: of a class score.
        extra: of what follows, in parts of its largest value.
        overlap: of the overlap of two boxes.
        above: boxes are only compared of anchors with such a score; those of no object may be off by much more.
        any_class: one box may have either of two classes, whose scores rounding brought into another order.
    """

    box_px: float
    score: float
    extra: float
    overlap: float
    above: float = -1
    any_class: bool = False


def compare_elements(ours: torch.Tensor, theirs: torch.Tensor, classes: int, above: float) -> torch.Tensor:
    """Return the largest differences of raw outputs: of a box coordinate, of a class score, of what follows.

    Args:
        ours: (B, 4 + classes + extras, anchors).
        theirs: the same of the file.
        classes: how many there are.
        above: boxes and extras of anchors without a score above this are left out.
    Returns:
        (3,) px, score, and extras in parts of their largest value (at least 1).
    """
    parts = (ours - theirs).abs().split((4, classes, ours.shape[1] - 4 - classes), 1)
    seen = (ours[:, 4 : 4 + classes].amax(1, keepdim=True) > above).float()
    box, score, extra = (_largest(part) for part in (parts[0] * seen, parts[1], parts[2] * seen))
    return torch.stack((box, score, extra / scale(ours[:, 4 + classes :])))


def compare_rows(ours: torch.Tensor, theirs: torch.Tensor, tolerance: Tolerance) -> torch.Tensor:
    """Return the same for one image's final rows (n, 6 + extras), sorted by score; rounding swaps neighbours.

    Rows at the cut of top-k are left out. Infinite where a row above the cut has none of its class.
    """
    in_order = (ours[:, 4] - theirs[:, 4]).abs().max()
    above_cut = max(ours[-1, 4], theirs[-1, 4]) + tolerance.score
    pairs = [
        nearest(rows[rows[:, 4] > above_cut], others, tolerance) for rows, others in ((ours, theirs), (theirs, ours))
    ]
    largest = torch.cat((*pairs, torch.zeros(1, 3))).amax(0)
    largest[1] = largest[1].maximum(in_order)
    return largest


def nearest(rows: torch.Tensor, others: torch.Tensor, tolerance: Tolerance) -> torch.Tensor:
    """Return (n, 3): differences of each row to its nearest (of the same class, if that matters), or infinity."""
    if not len(rows) or not len(others):
        return torch.full((len(rows), 3), torch.inf)
    difference = (rows[:, None] - others[None]).abs()
    extra = difference[..., 6:] / scale(rows[:, 6:])
    parts = torch.stack(
        (difference[..., :4].amax(-1), difference[..., 4], torch.nn.functional.pad(extra, (1, 0)).amax(-1)), -1
    )
    wrong_class = (difference[..., 5] != 0) & (not tolerance.any_class)
    distance = (parts / torch.tensor(tolerance[:3])).amax(-1).masked_fill(wrong_class, torch.inf)
    best = distance.argmin(1)
    each = torch.arange(len(rows))
    return parts[each, best].masked_fill(distance[each, best].isinf()[:, None], torch.inf)


def scale(values: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude, at least 1."""
    return _largest(values.abs()).clamp(min=1)


def lost(
    detections: torch.Tensor,
    others: torch.Tensor,
    tolerance: Tolerance,
    rotated: bool = False,
    least: float = CONFIDENCE,
) -> torch.Tensor:
    """Return (n,): which detections the others lack for another reason than rounding beside a threshold.

    Rounding may drop one whose score is at the threshold (`least`: of confidence, or where top-k cuts), and NMS
    may settle a tie the other way: then a box of the same class, of no lower score, stands where this one would
    have been suppressed. The host's NMS of rotated boxes lets those suppress that were suppressed themselves, so
    there the survivor stands farther.
    """
    same = (nearest(detections, others, tolerance) <= torch.tensor(tolerance[:3])).all(1)
    chain = ROTATED_CHAIN if rotated else 0
    stands = (
        (_same_class(detections, others) | tolerance.any_class)
        & (others[None, :, 4] >= detections[:, None, 4] - tolerance.score)
        & (_overlaps(detections, others, rotated) >= OVERLAP - tolerance.overlap - chain)
    ).any(1)
    return ~same & ~stands & (detections[:, 4] > least + tolerance.score)


def alike(detections: torch.Tensor, others: torch.Tensor, rotated: bool = False) -> torch.Tensor:
    """Return (n,): which detections have a box of their class among the others that overlaps by half."""
    return (_same_class(detections, others) & (_overlaps(detections, others, rotated) >= LIKE)).any(1)


def suppressed(output: torch.Tensor, classes: int, *, end2end: bool, rotated: bool) -> list[torch.Tensor]:
    """Return each image's detections (n, 6 + extras) as the host's prediction finds them in an output."""
    return non_max_suppression(
        output.clone(), CONFIDENCE, OVERLAP, nc=classes, end2end=end2end, rotated=rotated and not end2end
    )


def _largest(values: torch.Tensor) -> torch.Tensor:
    return values.max() if values.numel() else torch.tensor(0.0)


def _same_class(detections: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return detections[:, None, 5] == others[None, :, 5]


def _overlaps(detections: torch.Tensor, others: torch.Tensor, rotated: bool) -> torch.Tensor:
    """Return (n, m) overlaps, as the host's NMS measures them: rotated boxes are centre, size and last the angle."""
    if not rotated:
        return box_iou(detections[:, :4], others[:, :4])
    ours, theirs = (torch.cat((rows[:, :4], rows[:, -1:]), 1) for rows in (detections, others))
    return batch_probiou(ours, theirs)
