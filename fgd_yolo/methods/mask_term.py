"""The term of the heads about instance masks, which compares the masks that coefficients and prototypes make."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fgd_yolo.methods.box_terms import edge_distances
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, confident_sums, cross_entropy_excess

ANCHORS_PER_IMAGE = 16


def mask_term(student: Predictions, targets: Sequence[HeadTarget]) -> Sums | None:
    """Compare assembled masks at the 16 anchors of each image in which the teacher is most confident.

    Convention:
        A mask is the sum of the model's own prototypes times the anchor's coefficients; coefficients alone mean nothing
        in another model. The number of prototypes may differ. The student's masks are resized (bilinear) to the
        teacher's grid if that is another.
        The cost is the binary cross-entropy of every pixel less the teacher's own entropy, so 0 where both agree, mean
        over the pixels inside the teacher's box: those whose centre is in it, and the pixel that holds its centre.
    """

    def compare(target: HeadTarget) -> tuple[Tensor, Tensor] | None:
        teacher = target.outputs
        if student.coefficients is None or teacher.coefficients is None:
            return None
        confidence, anchors = target.confidence.topk(min(ANCHORS_PER_IMAGE, target.confidence.shape[1]), dim=1)
        wanted = assembled_masks(teacher, anchors)
        actual = assembled_masks(student, anchors)
        if actual.shape != wanted.shape:
            actual = F.interpolate(actual, wanted.shape[2:], mode="bilinear", align_corners=False)
        return mean_excess(actual, wanted, box_pixels(teacher, anchors)), confidence

    return confident_sums(targets, compare)


def assembled_masks(outputs: Predictions, anchors: Tensor) -> Tensor:
    """Return the mask logits of chosen anchors, (B, chosen) anchor numbers, as (B, chosen, h, w)."""
    return torch.einsum("bkn,bkhw->bnhw", _chosen(outputs.coefficients, anchors), outputs.prototypes)


def mean_excess(student: Tensor, teacher: Tensor, inside: Tensor) -> Tensor:
    """Return the mean cross-entropy, less the teacher's entropy, over the chosen pixels of each mask.

    Only these pixels are looked at: boxes are small, and logarithms of all pixels would take most of the term's time.

    Args:
        student: (B, masks, h, w), logits.
        teacher: the same of the teacher.
        inside: (B, masks, h, w), whether a pixel is chosen; at least one of each mask is.

    Returns:
        (B, masks).
    """
    pixels = inside.flatten().nonzero().squeeze(1)
    mask = pixels // (inside.shape[2] * inside.shape[3])
    student, teacher = student.flatten()[pixels], teacher.flatten()[pixels]
    excess = cross_entropy_excess(student, teacher, teacher.sigmoid())
    sums = excess.new_zeros(inside.shape[0] * inside.shape[1]).index_add(0, mask, excess)
    return sums.view(inside.shape[:2]) / inside.sum(dim=(2, 3))


def box_pixels(outputs: Predictions, anchors: Tensor) -> Tensor:
    """Return which pixels of the prototypes are inside the boxes of chosen anchors, (B, chosen, h, w) booleans.

    Args:
        outputs: with boxes, prototypes, anchors and strides.
        anchors: (B, chosen) integers, numbers of the anchors.
    """
    h, w = outputs.prototypes.shape[2:]
    # Anchors are centres of cells, and every level covers the whole input: its last cell ends where the input ends.
    input_size = ((outputs.anchors + 0.5) * outputs.strides).amax(dim=1)  # width and height in pixels
    scale = input_size.new_tensor([w, h]) / input_size
    edges = edge_distances(_chosen(outputs.boxes, anchors))  # B, 4, chosen
    centre = outputs.anchors.transpose(0, 1)[anchors]  # B, chosen, 2
    stride = outputs.strides[anchors].unsqueeze(2) * scale
    first = (centre - edges[:, :2].transpose(1, 2)) * stride
    last = (centre + edges[:, 2:].transpose(1, 2)) * stride
    middle = ((first + last) / 2).floor()
    inside = []
    for axis, pixels in enumerate((w, h)):
        pixel = torch.arange(pixels, device=first.device, dtype=first.dtype)
        start, end, held = (edge[..., axis : axis + 1] for edge in (first, last, middle))
        inside.append(((pixel + 0.5 >= start) & (pixel + 0.5 <= end)) | (pixel == held.clamp(0, pixels - 1)))
    columns, rows = inside
    return rows.unsqueeze(3) & columns.unsqueeze(2)


def _chosen(outputs: Tensor, anchors: Tensor) -> Tensor:
    """Return the outputs (B, C, A) of the anchors (B, chosen) as (B, C, chosen)."""
    return outputs.gather(2, anchors.unsqueeze(1).expand(-1, outputs.shape[1], -1))
