"""Edges and angles of rotated boxes, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from fgd_yolo.methods import Predictions
from unit.methods.heads import all_outputs, compared


def rotated(seed: int, bins: int = 16) -> Predictions:
    """Outputs whose angles cover several turns in both directions."""
    generator = torch.Generator().manual_seed(seed)
    outputs = all_outputs(seed)
    angles = (torch.rand(outputs.angles.shape, generator=generator) - 0.5) * 12
    boxes = outputs.boxes if bins == 16 else torch.rand(2, 4, angles.shape[2], generator=generator) * 6 - 0.5
    return outputs._replace(angles=angles.requires_grad_(), boxes=boxes.detach().requires_grad_())


def one_box(edges, angle, confidence=0.8, **others) -> Predictions:
    """One anchor with one class."""
    boxes = torch.tensor(edges, dtype=torch.float32).view(1, 4, 1)
    scores = torch.full((1, 1, 1), math.log(confidence / (1 - confidence)))
    return Predictions(boxes, scores, angles=torch.tensor([[[float(angle)]]]).requires_grad_(), **others)


def plain_sides(boxes, image, a):
    """Left, top, right and bottom of one anchor, from bins or plain distances."""
    values = boxes[image, :, a].tolist()
    bins = len(values) // 4
    if bins == 1:
        return values
    sides = []
    for side in range(4):
        powers = [math.exp(value) for value in values[side * bins : side * bins + bins]]
        sides.append(sum(number * power for number, power in enumerate(powers)) / sum(powers))
    return sides


def plain_terms(student: Predictions, teacher: Predictions) -> tuple[float, float]:
    """The box term by distances and the angle term, by loops over images, anchors and edges."""
    box = angle = total = 0.0
    for image in range(2):
        for a in range(student.scores.shape[2]):
            confidence = max(1 / (1 + math.exp(-logit)) for logit in teacher.scores[image, :, a].tolist())
            total += confidence
            difference = student.angles[image, 0, a].item() - teacher.angles[image, 0, a].item()
            own, wanted = plain_sides(student.boxes, image, a), plain_sides(teacher.boxes, image, a)
            width, height = (max(wanted[side] + wanted[side + 2], 1.0) for side in (0, 1))
            gap = sum(abs(own[side] - wanted[side]) / ((width, height)[side % 2] / 2) for side in range(4))
            if math.cos(difference) > 0 and math.cos(2 * difference) > 0:
                box += confidence * math.cos(2 * difference) * gap / 4
            angle += confidence * math.sin(difference) ** 2 * (1 - min(width, height) / max(width, height))
    return box / total, angle / total


@pytest.mark.parametrize("bins", [(1, 1), (1, 16), (16, 1)], ids=str)
def test_edges_and_angles_of_rotated_boxes_equal_the_plain_loops(bins):
    student, teacher = rotated(1, bins[0]), rotated(2, bins[1])
    terms = compared(student, teacher, box=2.0, angle=3.0)
    box, angle = plain_terms(student, teacher)
    assert terms["box"].item() == pytest.approx(2 * box, rel=1e-4) and box > 0
    assert terms["angle"].item() == pytest.approx(3 * angle, rel=1e-4) and angle > 0


@pytest.mark.parametrize("bins", [16, 1])
@pytest.mark.parametrize(("degrees", "factor"), [(0, 1), (30, 0.5), (-330, 0.5), (50, 0), (90, 0), (180, 0), (360, 1)])
def test_edges_count_as_far_as_the_angles_agree(bins, degrees, factor):
    student, teacher = rotated(1, bins), rotated(2, bins)
    upright = compared(student._replace(angles=None), teacher._replace(angles=None), box=1.0)["box"]
    turned = student._replace(angles=teacher.angles.detach() + math.radians(degrees))
    assert compared(turned, teacher, box=1.0)["box"].item() == pytest.approx(factor * upright.item(), abs=1e-5)


def test_edges_send_no_gradient_to_the_angle():
    student, teacher = rotated(1), rotated(2)
    compared(student, teacher, box=1.0)["box"].backward()
    assert student.boxes.grad.any() and student.angles.grad is None


@pytest.mark.parametrize("turns", [-2, -1, 1, 4])
def test_half_turns_do_not_change_the_angle_term(turns):
    student, teacher = rotated(1), rotated(2)
    wanted = compared(student, teacher, angle=1.0)["angle"]
    turned = student._replace(angles=student.angles + turns * math.pi)
    assert compared(turned, teacher, angle=1.0)["angle"].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_the_angle_counts_by_how_far_the_teachers_box_is_from_square():
    for edges, elongation in (((2, 2, 2, 2), 0), ((1, 4, 1, 4), 0.75), ((4, 1, 4, 1), 0.75), ((0.1, 0.1, 0.2, 0.1), 0)):
        student, teacher = one_box((9, 1, 1, 1), 0.7), one_box(edges, 0.2)
        term = compared(student, teacher, angle=1.0)["angle"]
        assert term.item() == pytest.approx(0.8 * elongation * math.sin(0.5) ** 2, rel=1e-5), edges


def test_the_angle_is_drawn_towards_the_nearest_equal_one():
    student, teacher = one_box((4, 1, 4, 1), math.pi - 0.3), one_box((4, 1, 4, 1), 0.0)
    compared(student, teacher, angle=1.0)["angle"].backward()
    assert student.angles.grad.item() < 0, "descent turns it on to pi, not back to 0"
