"""What the head terms compare: the outputs of a student's head and those of its teachers, for the same anchors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_yolo.methods.alignment import at_least_float32
from fgd_yolo.methods.placement import columns_of


class Predictions(NamedTuple):
    """Outputs of one branch of a head for A anchors; what a task does not have is None.

    Args:
        boxes: (B, 4 * bins, A), raw edges; with one bin they are distances from the anchor in cells.
        scores: (B, classes, A), logits of the data's classes.
        angles: (B, 1, A), decoded, in radians.
        keypoints: (B, K, 2, A), decoded offsets x and y from the anchor, in cells of its level.
        visibility: (B, K, A), logits.
        coefficients: (B, k, A), factors of the prototypes.
        prototypes: (B, k, h, w).
        anchors: (2, A), x and y of the anchors in cells of their level: the centres of its cells.
        strides: (A,), pixels per cell of each anchor's level.
        matched: (B, classes, A), of a student with labels: where an anchor is assigned to a labelled box, the overlap
            of both, above 0, in the column of the box's class; 0 elsewhere.
        candidates: (B, classes, A), of a student with labels: 1 where an anchor could have been assigned to a labelled
            box of the class, since it lies inside; 0 elsewhere.
    """

    boxes: Tensor
    scores: Tensor
    angles: Tensor | None = None
    keypoints: Tensor | None = None
    visibility: Tensor | None = None
    coefficients: Tensor | None = None
    prototypes: Tensor | None = None
    anchors: Tensor | None = None
    strides: Tensor | None = None
    matched: Tensor | None = None
    candidates: Tensor | None = None


class TeacherPredictions(NamedTuple):
    """Outputs of a teacher's head, with the classes that it knows.

    Args:
        outputs: for the student's anchors; `scores` has a column for each of the data's classes.
        known: numbers of the classes that the teacher knows, at least one; None for all. Its other scores are not read.
    """

    outputs: Predictions
    known: Sequence[int] | None = None


class HeadTarget(NamedTuple):
    """A teacher as the terms compare with it, in float32 and without gradient.

    Args:
        outputs: of its head.
        columns: numbers of the classes that it knows, or None for all.
        logits: (B, known, A), scores of these classes.
        probability: (B, known, A), their sigmoid.
        confidence: (B, A), the largest probability in each anchor.
    """

    outputs: Predictions
    columns: list[int] | None
    logits: Tensor
    probability: Tensor
    confidence: Tensor


class Sums(NamedTuple):
    """A term before division: the cost and its divisor, summed over anchors and images.

    Most terms weight the cost of an anchor by the teacher's confidence, whose sum is the divisor. Others have a divisor
    of their own.
    """

    cost: Tensor
    divisor: Tensor


def in_float32(outputs: Predictions) -> Predictions:
    """Return the outputs at least in float32."""
    return Predictions(*(output if output is None else at_least_float32(output) for output in outputs))


def target_of(teacher: TeacherPredictions) -> HeadTarget:
    """Return a teacher as the terms compare with it.

    Raises:
        ValueError: the teacher knows none of the classes.
    """
    outputs = in_float32(Predictions(*(output if output is None else output.detach() for output in teacher.outputs)))
    columns = None if teacher.known is None else list(teacher.known)
    if columns == []:
        raise ValueError("a teacher of the heads must know at least one of the data's classes")
    logits = columns_of(outputs.scores, columns)
    probability = logits.sigmoid()
    return HeadTarget(outputs, columns, logits, probability, probability.amax(dim=1))


def matched_anchors(student: Predictions, columns: Sequence[int] | None) -> Tensor:
    """Return the overlap of each anchor with its labelled box, (B, A), without gradient; 0 if it is not assigned.

    Args:
        student: outputs of the student, with `matched`.
        columns: classes of the boxes that count; None for all.
    """
    return _largest(student.matched, columns)


def number_matched(student: Predictions, columns: Sequence[int] | None) -> Tensor:
    """Return the number of anchors that are assigned to a labelled box, as BCKD counts: an image with none has one.

    Args:
        student: outputs of the student, with `matched`.
        columns: classes of the boxes that count; None for all.
    """
    return (matched_anchors(student, columns) > 0).sum(dim=1).clamp(min=1).sum()


def candidate_anchors(student: Predictions, columns: Sequence[int] | None) -> Tensor:
    """Return which anchors could have been assigned to a labelled box of some classes, (B, A) booleans."""
    return _largest(student.candidates, columns) > 0


def _largest(values: Tensor, columns: Sequence[int] | None) -> Tensor:
    return columns_of(values, columns).detach().amax(dim=1)


def confident_sums(
    targets: Sequence[HeadTarget], compare: Callable[[HeadTarget], tuple[Tensor, Tensor] | None]
) -> Sums | None:
    """Sum the cost of each teacher's anchors, weighted by its confidence in them, over all teachers.

    Args:
        targets: the teachers.
        compare: returns the cost and the confidence of a teacher's anchors, (B, anchors) each, or None if the student
            cannot be compared with it.

    Returns:
        The sums, or None if no teacher can be compared.
    """
    compared = [pair for target in targets if (pair := compare(target)) is not None]
    if not compared:
        return None
    costs = [(cost * confidence).sum() for cost, confidence in compared]
    return Sums(sum(costs), sum(confidence.sum() for _, confidence in compared))


def cross_entropy_excess(student: Tensor, teacher: Tensor, probability: Tensor) -> Tensor:
    """Return the binary cross-entropy between two logits less the teacher's entropy: at least 0, and 0 where equal.

    Args:
        student: logits, any shape.
        teacher: logits of the same shape.
        probability: sigmoid of the teacher's logits.
    """
    cost = torch.nn.functional.binary_cross_entropy_with_logits(student, probability, reduction="none")
    return cost - torch.nn.functional.binary_cross_entropy_with_logits(teacher, probability, reduction="none")
