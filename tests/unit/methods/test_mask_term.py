"""Assembled masks, against plain loops and Ultralytics' own masks."""

from __future__ import annotations

import math

import pytest
import torch
from ultralytics.utils.ops import process_mask
from ultralytics.utils.tal import dist2bbox

from fgd_yolo.methods import Predictions
from fgd_yolo.methods.box_terms import edge_distances
from fgd_yolo.methods.mask_term import ANCHORS_PER_IMAGE, assembled_masks, box_pixels
from unit.methods.heads import all_outputs, compared

INPUT = (32, 48)  # height and width in pixels


def probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def plain_mask(outputs: Predictions, image: int, a: int) -> list[list[float]]:
    """Logits of one anchor's mask, by loops over pixels and prototypes."""
    factors, (count, height, width) = outputs.coefficients[image, :, a].tolist(), outputs.prototypes.shape[1:]
    maps = outputs.prototypes[image].tolist()
    return [
        [sum(factors[k] * maps[k][row][column] for k in range(count)) for column in range(width)]
        for row in range(height)
    ]


def plain_crop(outputs: Predictions, image: int, a: int) -> list[tuple[int, int]]:
    """Rows and columns of the pixels in the box of one anchor, whose edges are plain distances."""
    height, width = outputs.prototypes.shape[2:]
    left, top, right, bottom = outputs.boxes[image, :, a].tolist()
    (x, y), stride = outputs.anchors[:, a].tolist(), outputs.strides[a].item()
    x1, x2 = ((x + shift) * stride * width / INPUT[1] for shift in (-left, right))
    y1, y2 = ((y + shift) * stride * height / INPUT[0] for shift in (-top, bottom))
    middle = (
        min(max(math.floor((y1 + y2) / 2), 0), height - 1),
        min(max(math.floor((x1 + x2) / 2), 0), width - 1),
    )
    return [
        (row, column)
        for row in range(height)
        for column in range(width)
        if (y1 <= row + 0.5 <= y2 or row == middle[0]) and (x1 <= column + 0.5 <= x2 or column == middle[1])
    ]


def plain_term(student: Predictions, teacher: Predictions) -> float:
    """The mask term by loops over images, chosen anchors and pixels; both models have the same grid."""
    cost = total = 0.0
    for image in range(2):
        ranked = sorted(
            ((max(teacher.scores[image, :, a].tolist()), a) for a in range(teacher.scores.shape[2])), reverse=True
        )
        for logit, a in ranked[:ANCHORS_PER_IMAGE]:
            own, wanted = plain_mask(student, image, a), plain_mask(teacher, image, a)
            crop = plain_crop(teacher, image, a)
            excess = 0.0
            for row, column in crop:
                p, q = probability(own[row][column]), probability(wanted[row][column])
                excess += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
            cost += probability(logit) * excess / len(crop)
            total += probability(logit)
    return cost / total


def with_distances(outputs: Predictions, largest: float = 3.0) -> Predictions:
    """The same outputs with one bin per edge; some boxes have no pixel's centre in them, or lie outside the input."""
    boxes = torch.rand(outputs.boxes[:, :4].shape, generator=torch.Generator().manual_seed(9)) * (largest + 1) - 1
    return outputs._replace(boxes=boxes.requires_grad_())


@pytest.mark.parametrize("prototypes", [(4, 4), (4, 6)], ids=str)
def test_the_term_equals_the_plain_loops(prototypes):
    student, teacher = all_outputs(1, prototypes=prototypes[0]), all_outputs(2, prototypes=prototypes[1])
    teacher = with_distances(teacher)
    term = compared(student, teacher, mask=2.0)["mask"]
    assert term.item() == pytest.approx(2 * plain_term(student, teacher), rel=1e-4)


def test_prototypes_of_another_basis_that_make_the_same_masks_agree():
    """Every prototype negated or exchanged, and its coefficients with it."""
    student, teacher = all_outputs(1), all_outputs(2)
    order, sign = [2, 0, 3, 1], torch.tensor([-1.0, 1.0, -1.0, 1.0])
    same = student._replace(
        coefficients=teacher.coefficients.detach()[:, order] * sign[:, None],
        prototypes=teacher.prototypes.detach()[:, order] * sign[:, None, None],
    )
    assert compared(same, teacher, mask=1.0)["mask"].item() == pytest.approx(0, abs=1e-6)
    assert compared(student, teacher, mask=1.0)["mask"] > 0.1


def test_only_the_most_confident_anchors_get_a_gradient():
    student, teacher = all_outputs(1), all_outputs(2)
    compared(student, teacher, mask=1.0)["mask"].backward()
    confidence = teacher.scores.sigmoid().amax(dim=1)
    for image in range(2):
        reached = student.coefficients.grad[image].abs().amax(dim=0).nonzero().flatten().tolist()
        assert sorted(confidence[image].topk(ANCHORS_PER_IMAGE).indices.tolist()) == reached


def test_fewer_anchors_than_are_chosen_are_all_compared():
    few = [0, 23, 29]  # the last of both levels are among them, which tell the input's size
    outputs = []
    for own in (all_outputs(1), with_distances(all_outputs(2))):
        chosen = {name: output[..., few] for name, output in own._asdict().items() if name != "prototypes"}
        outputs.append(own._replace(**chosen))
    assert compared(*outputs, mask=1.0)["mask"].item() == pytest.approx(plain_term(*outputs), rel=1e-4)


def test_prototypes_on_another_grid_are_resized_to_the_teachers():
    """Constant prototypes make the same masks on every grid."""
    teacher = all_outputs(2)
    teacher = teacher._replace(prototypes=teacher.prototypes.detach()[..., :1, :1].expand(-1, -1, 8, 12))
    student = teacher._replace(prototypes=teacher.prototypes[..., :1, :1].expand(-1, -1, 4, 5))
    assert compared(student, teacher, mask=1.0)["mask"].item() == pytest.approx(0, abs=1e-6)
    shifted = student._replace(prototypes=student.prototypes + 1)
    assert compared(shifted, teacher, mask=1.0)["mask"] > 0.01


def test_masks_and_crops_are_those_of_ultralytics():
    """process_mask assembles, crops by the box and thresholds at 0, on the grid of the prototypes."""
    outputs = all_outputs(3)
    outputs = outputs._replace(boxes=torch.rand(2, 4, 30, generator=torch.Generator().manual_seed(3)) + 0.5)
    anchors = torch.tensor([[0, 7, 13, 24, 29]] * 2)
    boxes = dist2bbox(edge_distances(outputs.boxes), outputs.anchors[None], xywh=False, dim=1) * outputs.strides
    masks, inside = assembled_masks(outputs, anchors), box_pixels(outputs, anchors)
    for image in range(2):
        coefficients = outputs.coefficients[image].T[anchors[image]]
        # Ultralytics asks where a pixel begins, not where its centre is: half a pixel of 4 pixels of the input earlier.
        chosen = boxes[image].T[anchors[image]] - 2
        expected = process_mask(outputs.prototypes[image].detach(), coefficients.detach(), chosen, INPUT).bool()
        assert torch.equal((masks[image] > 0) & inside[image], expected) and expected.any()
