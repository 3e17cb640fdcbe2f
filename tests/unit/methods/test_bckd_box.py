"""BCKD's box term, against plain loops, and GIoU by arithmetic."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import Predictions, TeacherPredictions
from fgd_yolo.methods.bckd_box import generalised_overlap
from unit.methods.heads import (
    assert_equal_to_plain,
    compared,
    exact_outputs,
    plain_angles_agree,
    plain_overlap,
)

BINS = [(1, 1), (4, 4), (1, 4), (4, 1)]


def plain_distances(boxes: torch.Tensor, image: int, a: int) -> list[torch.Tensor]:
    """Left, top, right and bottom of one anchor, from bins or plain distances."""
    bins = boxes.shape[1] // 4
    sides = []
    for side in range(4):
        values = [boxes[image, side * bins + number, a] for number in range(bins)]
        powers = [value.exp() for value in values]
        mean = sum(number * power for number, power in enumerate(powers)) / sum(powers)
        sides.append(values[0] if bins == 1 else mean)
    return sides


def plain_giou(first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
    """GIoU of two boxes about an anchor at the origin, by their corners."""
    corners = [[-left, -top, right, bottom] for left, top, right, bottom in (first, second)]
    (ax, ay, aX, aY), (bx, by, bX, bY) = corners
    width, height = torch.minimum(aX, bX) - torch.maximum(ax, bx), torch.minimum(aY, bY) - torch.maximum(ay, by)
    overlap = width.clamp(min=0) * height.clamp(min=0)
    areas = [(X - x).clamp(min=0) * (Y - y).clamp(min=0) for x, y, X, Y in corners]
    union = (areas[0] + areas[1] - overlap).clamp(min=1e-7)
    width, height = torch.maximum(aX, bX) - torch.minimum(ax, bx), torch.maximum(aY, bY) - torch.minimum(ay, by)
    hull = (width.clamp(min=0) * height.clamp(min=0)).clamp(min=1e-7)
    return overlap / union - (hull - union) / hull


def plain_term(student: Predictions, teachers: list[TeacherPredictions]) -> torch.Tensor:
    """The term by loops over teachers, images and anchors."""
    cost, positives = 0.0, 0
    B, classes, A = student.scores.shape
    for teacher in teachers:
        known = teacher.known or list(range(classes))
        for image in range(B):
            positives += max(sum(plain_overlap(student, known, image, a) > 0 for a in range(A)), 1)
            for a in range(A):
                gaps = [
                    abs(student.scores[image, c, a].sigmoid() - teacher.outputs.scores[image, c, a].sigmoid()).item()
                    for c in known
                ]
                own, wanted = (plain_distances(head.boxes, image, a) for head in (student, teacher.outputs))
                agree = plain_angles_agree(student, teacher.outputs, image, a)
                cost = cost + max(gaps) * agree * (1 - plain_giou(own, [side.detach() for side in wanted]))
    return cost / positives


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("bins", BINS, ids=str)
def test_the_term_and_its_gradient_equal_the_plain_loops(bins, rotated):
    student, teacher = (exact_outputs(seed, own, rotated=rotated) for seed, own in enumerate(bins, start=1))
    term = compared(student, teacher, bckd_box=4.0)["bckd_box"]
    assert_equal_to_plain(term, 4 * plain_term(student, [TeacherPredictions(teacher)]), student, ("boxes",))


@pytest.mark.parametrize("known", [[[1]], [[0, 2], [2]], [None, [0]]], ids=str)
def test_teachers_count_with_the_classes_that_they_know(known):
    student = exact_outputs(1, bins=4)
    teachers = [TeacherPredictions(exact_outputs(seed, bins=1), own) for seed, own in enumerate(known, start=2)]
    term = compared(student, *teachers, bckd_box=1.0)["bckd_box"]
    assert_equal_to_plain(term, plain_term(student, teachers), student, ("boxes",))


def test_the_overlap_of_boxes_by_arithmetic():
    """Left, top, right, bottom: the same box, half of it, one beside it, and two without size."""
    cases = [
        ((1, 1, 1, 1), (1, 1, 1, 1), 1.0),
        ((1, 1, 1, 1), (1, 1, 0, 1), 0.5),
        ((0, 1, 1, 1), (2, 1, -1, 1), 0 - 2 / 6),  # [0, 1] and [-2, -1] in x: hull 3 x 2, union 2 + 2
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
        ((1, 1, 1, 1), (-2, 1, 1, 1), 0.0),  # the second has no width; the hull is the first
    ]
    for first, second, wanted in cases:
        boxes = [torch.tensor(box, dtype=torch.float64).view(1, 4, 1) for box in (first, second)]
        assert generalised_overlap(*boxes).item() == pytest.approx(wanted), (first, second)


def test_without_labels_and_between_rotated_and_upright_boxes_there_is_no_term():
    student, teacher = exact_outputs(1, bins=1), exact_outputs(2, bins=1)
    turned = exact_outputs(1, bins=1, rotated=True)
    for first, second in ((student._replace(matched=None), teacher), (turned, teacher), (student, turned)):
        assert compared(first, second, bckd_box=1.0)["bckd_box"].item() == 0
