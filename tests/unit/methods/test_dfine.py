"""D-FINE's decoupled distillation of edges, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions
from unit.methods.heads import assert_equal_to_plain, compared, exact_outputs, plain_divergence, plain_overlap


def plain_term(student: Predictions, teachers: list[TeacherPredictions], temperature: float = 5.0) -> torch.Tensor:
    """The two means and their shares by loops over teachers, images and anchors."""
    matched, others = [], []
    B, classes, A = student.scores.shape
    for teacher in teachers:
        known = teacher.known or list(range(classes))
        for image in range(B):
            for a in range(A):
                cost = plain_divergence(student, teacher.outputs, image, a, temperature)
                overlap = plain_overlap(student, known, image, a)
                if overlap > 0:
                    matched.append(overlap * cost)
                else:
                    others.append(max(teacher.outputs.scores[image, c, a].sigmoid().item() for c in known) * cost)
    shares = [math.sqrt(len(costs)) for costs in (matched, others)]
    means = [sum(costs) / max(len(costs), 1) for costs in (matched, others)]
    return (shares[0] * means[0] + shares[1] * means[1]) / sum(shares)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("known", [[None], [[1]], [[0, 2], [2]]], ids=str)
def test_the_term_and_its_gradient_equal_the_plain_loops(known, rotated):
    student = exact_outputs(1, bins=4, rotated=rotated)
    teachers = [
        TeacherPredictions(exact_outputs(seed, bins=4, rotated=rotated), own) for seed, own in enumerate(known, start=2)
    ]
    term = compared(student, *teachers, dfine=1.0)["dfine"]
    assert_equal_to_plain(term, plain_term(student, teachers), student, ("boxes",))


def test_the_temperature_is_an_option():
    student, teachers = exact_outputs(1, bins=4), [TeacherPredictions(exact_outputs(2, bins=4))]
    term = HeadLoss({"dfine": 2.0}, {"dfine": 3.0})(student, teachers).terms["dfine"]
    assert_equal_to_plain(term, 2 * plain_term(student, teachers, temperature=3.0), student, ("boxes",))


@pytest.mark.parametrize("overlap", [0.0, 0.7])
def test_with_all_anchors_of_one_kind_the_term_is_their_mean(overlap):
    student, teacher = exact_outputs(1, bins=4), exact_outputs(2, bins=4)
    student = student._replace(matched=torch.full_like(student.matched, overlap))
    plain = plain_term(student, [TeacherPredictions(teacher)])
    assert_equal_to_plain(compared(student, teacher, dfine=1.0)["dfine"], plain, student, ("boxes",))
