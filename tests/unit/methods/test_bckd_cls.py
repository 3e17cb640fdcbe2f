"""BCKD's class term, against plain loops."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import Predictions, TeacherPredictions
from unit.methods.heads import assert_equal_to_plain, compared, exact_outputs, plain_overlap


def plain_term(student: Predictions, teachers: list[TeacherPredictions]) -> torch.Tensor:
    """The term by loops over images, anchors and classes; the weight keeps its gradient."""
    cost, positives = 0.0, 0
    B, classes, A = student.scores.shape
    every = list(range(classes))
    taught = [c for c in every if any(c in (teacher.known or every) for teacher in teachers)]
    for image in range(B):
        positives += max(sum(plain_overlap(student, taught, image, a) > 0 for a in range(A)), 1)
        for a in range(A):
            for c in taught:
                knowing = [teacher for teacher in teachers if c in (teacher.known or every)]
                wanted = sum(teacher.outputs.scores[image, c, a].detach().sigmoid() for teacher in knowing)
                wanted = wanted / len(knowing)
                own = student.scores[image, c, a].sigmoid()
                entropy = -(wanted * own.log() + (1 - wanted) * (1 - own).log())
                cost = cost + (wanted - own).abs() * entropy
    return cost / positives


@pytest.mark.parametrize("known", [[None], [[1]], [[0, 2], [2]], [[0], [1]], [None, [0]]], ids=str)
def test_the_term_and_its_gradient_equal_the_plain_loops(known):
    student = exact_outputs(1, bins=4)
    teachers = [TeacherPredictions(exact_outputs(seed, bins=4), own) for seed, own in enumerate(known, start=2)]
    term = compared(student, *teachers, bckd_cls=1.0)["bckd_cls"]
    assert_equal_to_plain(term, plain_term(student, teachers), student, ("scores",))


@pytest.mark.parametrize("images", [1, 2])
def test_an_image_without_assigned_anchors_counts_as_one(images):
    student, teacher = exact_outputs(1, bins=1), exact_outputs(2, bins=1)
    assert student.matched[0].any() and student.matched[1].any()
    student.matched[:images] = 0
    term = compared(student, teacher, bckd_cls=1.0)["bckd_cls"]
    assert_equal_to_plain(term, plain_term(student, [TeacherPredictions(teacher)]), student, ("scores",))


def test_without_labels_there_is_no_term():
    student = exact_outputs(1, bins=1)._replace(matched=None)
    assert compared(student, exact_outputs(2, bins=1), bckd_cls=1.0)["bckd_cls"].item() == 0
