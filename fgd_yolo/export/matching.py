"""The arithmetic of the parity check: differences between two sets of boxes, or two tensors of them."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou  # once torchvision is imported, Ultralytics' NMS uses it too
from ultralytics.utils.metrics import batch_probiou
from ultralytics.utils.nms import non_max_suppression

from fgd_yolo.export.precisions import Tolerance
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU

ROTATED_CHAIN = 0.25  # two boxes that both overlap a third by 0.7 overlap each other by about 0.45
SIMILAR_OVERLAP = 0.5  # IoU of two boxes of one object, where exact equality is not required


def output_differences(expected: torch.Tensor, actual: torch.Tensor, classes: int, above: float) -> torch.Tensor:
    """Return the largest differences of raw outputs: of a box coordinate, of a class score, of the extras.

    Args:
        expected: PyTorch's output (B, 4 + classes + extras, anchors).
        actual: the file's output, of the same shape.
        classes: number of classes.
        above: boxes and extras of anchors without a score above this are ignored.
    Returns:
        (3,) px, score, and extras relative to their largest magnitude (at least 1).
    """
    parts = (expected - actual).abs().split((4, classes, expected.shape[1] - 4 - classes), 1)
    counts = (expected[:, 4 : 4 + classes].amax(1, keepdim=True) > above).float()
    box, score, extra = (_max(part) for part in (parts[0] * counts, parts[1], parts[2] * counts))
    return torch.stack((box, score, extra / magnitude(expected[:, 4 + classes :])))


def row_differences(expected: torch.Tensor, actual: torch.Tensor, tolerance: Tolerance) -> torch.Tensor:
    """Return the same differences for one image's final rows (n, 6 + extras), sorted by score.

    Rounding swaps neighbours, so each row is compared with its nearest. Rows at the cut of top-k are ignored. The
    result is infinite if a row above the cut has no counterpart of its class.
    """
    in_order = (expected[:, 4] - actual[:, 4]).abs().max()
    cut = max(expected[-1, 4], actual[-1, 4]) + tolerance.score
    pairs = [
        nearest_differences(rows[rows[:, 4] > cut], others, tolerance)
        for rows, others in ((expected, actual), (actual, expected))
    ]
    largest = torch.cat((*pairs, torch.zeros(1, 3))).amax(0)
    largest[1] = largest[1].maximum(in_order)
    return largest


def nearest_differences(rows: torch.Tensor, others: torch.Tensor, tolerance: Tolerance) -> torch.Tensor:
    """Return (n, 3): the differences of each row to its nearest of the same class, or infinity without one."""
    if not len(rows) or not len(others):
        return torch.full((len(rows), 3), torch.inf)
    difference = (rows[:, None] - others[None]).abs()
    extra = difference[..., 6:] / magnitude(rows[:, 6:])
    parts = torch.stack(
        (difference[..., :4].amax(-1), difference[..., 4], torch.nn.functional.pad(extra, (1, 0)).amax(-1)), -1
    )
    wrong_class = (difference[..., 5] != 0) & (not tolerance.any_class)
    distance = (parts / torch.tensor(tolerance[:3])).amax(-1).masked_fill(wrong_class, torch.inf)
    best = distance.argmin(1)
    index = torch.arange(len(rows))
    return parts[index, best].masked_fill(distance[index, best].isinf()[:, None], torch.inf)


def magnitude(values: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value, at least 1."""
    return _max(values.abs()).clamp(min=1)


def missing_detections(
    detections: torch.Tensor,
    others: torch.Tensor,
    tolerance: Tolerance,
    rotated: bool = False,
    threshold: float = DEFAULT_CONFIDENCE,
) -> torch.Tensor:
    """Return a mask (n,) of the detections that the others lack for a reason other than rounding at a threshold.

    Rounding may drop a detection whose score is at the threshold, and NMS may resolve a tie the other way: then the
    others have a box of the same class and no lower score, which suppresses this one. In Ultralytics' NMS of rotated
    boxes, suppressed boxes suppress others too, so there the surviving box may be farther off.

    Args:
        detections: (n, 6 + extras).
        others: (m, 6 + extras).
        tolerance: tolerance of the precision.
        rotated: boxes are centre, size and, as the last extra, the angle.
        threshold: lowest score: the confidence threshold, or the score at which top-k cuts.
    """
    same = (nearest_differences(detections, others, tolerance) <= torch.tensor(tolerance[:3])).all(1)
    chain = ROTATED_CHAIN if rotated else 0
    suppressed = (
        (_same_class(detections, others) | tolerance.any_class)
        & (others[None, :, 4] >= detections[:, None, 4] - tolerance.score)
        & (_overlaps(detections, others, rotated) >= DEFAULT_IOU - tolerance.overlap - chain)
    ).any(1)
    return ~same & ~suppressed & (detections[:, 4] > threshold + tolerance.score)


def has_similar(detections: torch.Tensor, others: torch.Tensor, rotated: bool = False) -> torch.Tensor:
    """Return a mask (n,) of the detections with a box of their class among the others that overlaps by half."""
    return (_same_class(detections, others) & (_overlaps(detections, others, rotated) >= SIMILAR_OVERLAP)).any(1)


def apply_nms(output: torch.Tensor, classes: int, *, end2end: bool, rotated: bool) -> list[torch.Tensor]:
    """Return each image's detections (n, 6 + extras) as Ultralytics' prediction extracts them from an output."""
    return non_max_suppression(
        output.clone(), DEFAULT_CONFIDENCE, DEFAULT_IOU, nc=classes, end2end=end2end, rotated=rotated and not end2end
    )


def _max(values: torch.Tensor) -> torch.Tensor:
    return values.max() if values.numel() else torch.tensor(0.0)


def _same_class(detections: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return detections[:, None, 5] == others[None, :, 5]


def _overlaps(detections: torch.Tensor, others: torch.Tensor, rotated: bool) -> torch.Tensor:
    """Return the overlaps (n, m) as Ultralytics' NMS measures them; the angle of a rotated box is its last extra."""
    if not rotated:
        return box_iou(detections[:, :4], others[:, :4])
    boxes, other_boxes = (torch.cat((rows[:, :4], rows[:, -1:]), 1) for rows in (detections, others))
    return batch_probiou(boxes, other_boxes)
