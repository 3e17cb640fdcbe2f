"""LD, against plain loops."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions
from unit.methods.heads import assert_equal_to_plain, compared, exact_outputs, plain_divergence, plain_overlap


def plain_term(student: Predictions, teachers: list[TeacherPredictions], temperature: float = 10.0) -> torch.Tensor:
    """The sum of the means of both regions by loops over teachers, images and anchors."""
    regions = {"main": [], "valuable": []}
    B, classes, A = student.scores.shape
    for teacher in teachers:
        known = teacher.known or list(range(classes))
        for image in range(B):
            for a in range(A):
                cost = plain_divergence(student, teacher.outputs, image, a, temperature)
                if plain_overlap(student, known, image, a) > 0:
                    regions["main"].append(cost)
                elif any(student.candidates[image, c, a] for c in known):
                    regions["valuable"].append(cost)
    return sum(sum(costs) / max(len(costs), 1) for costs in regions.values())


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("known", [[None], [[1]], [[0, 2], [2]]], ids=str)
def test_the_term_and_its_gradient_equal_the_plain_loops(known, rotated):
    student = exact_outputs(1, bins=4, rotated=rotated)
    teachers = [
        TeacherPredictions(exact_outputs(seed, bins=4, rotated=rotated), own) for seed, own in enumerate(known, start=2)
    ]
    term = compared(student, *teachers, ld=1.0)["ld"]
    assert_equal_to_plain(term, plain_term(student, teachers), student, ("boxes",))


def test_the_temperature_is_an_option():
    student, teachers = exact_outputs(1, bins=4), [TeacherPredictions(exact_outputs(2, bins=4))]
    term = HeadLoss({"ld": 2.0}, {"ld": 3.0})(student, teachers).terms["ld"]
    assert_equal_to_plain(term, 2 * plain_term(student, teachers, temperature=3.0), student, ("boxes",))


def test_anchors_outside_of_labelled_boxes_get_no_gradient():
    student, teacher = exact_outputs(1, bins=4), exact_outputs(2, bins=4)
    (gradient,) = torch.autograd.grad(compared(student, teacher, ld=1.0)["ld"], student.boxes)
    inside = student.candidates.amax(dim=1) > 0
    assert torch.equal(gradient.abs().amax(dim=1) > 0, inside) and 0 < inside.sum() < inside.numel()


def test_without_objects_the_term_is_0_and_finite():
    student, teacher = exact_outputs(1, bins=4), exact_outputs(2, bins=4)
    nothing = torch.zeros_like(student.matched)
    term = compared(student._replace(matched=nothing, candidates=nothing), teacher, ld=1.0)["ld"]
    assert term.item() == 0 and not torch.autograd.grad(term, student.boxes)[0].any()


@pytest.mark.parametrize("term", ["ld", "dfine"])
def test_heads_without_the_same_bins_or_without_labels_are_not_compared(term):
    student, teacher = exact_outputs(1, bins=4), exact_outputs(2, bins=4)
    pairs = [
        (exact_outputs(1, bins=1), teacher),
        (student, exact_outputs(2, bins=1)),
        (exact_outputs(1, bins=1), exact_outputs(2, bins=1)),
        (student, exact_outputs(2, bins=5)),
        (student, exact_outputs(2, bins=4, rotated=True)),
        (student._replace(matched=None), teacher),
    ]
    for own, other in pairs:
        assert compared(own, other, **{term: 1.0})[term].item() == 0
    both = compared(student, exact_outputs(3, bins=1), teacher, **{term: 1.0})[term]
    assert both.item() == compared(student, teacher, **{term: 1.0})[term].item() > 0
