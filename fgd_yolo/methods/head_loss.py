"""Imitation of the teachers' heads, combined with any method: one term for each kind of output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgd_yolo.methods.bckd_box import bckd_box_term
from fgd_yolo.methods.bckd_cls import bckd_cls_term
from fgd_yolo.methods.box_terms import angle_term, box_term
from fgd_yolo.methods.class_term import class_term
from fgd_yolo.methods.crosshead import crosshead_term
from fgd_yolo.methods.dfine import dfine_term
from fgd_yolo.methods.keypoint_terms import keypoint_term, visibility_term
from fgd_yolo.methods.ld import ld_term
from fgd_yolo.methods.mask_term import mask_term
from fgd_yolo.methods.predictions import HeadTarget, Predictions, Sums, TeacherPredictions, in_float32, target_of

HEAD_TERMS: dict[str, Callable[..., Sums | None]] = {
    "cls": class_term,
    "box": box_term,
    "mask": mask_term,
    "keypoint": keypoint_term,
    "visibility": visibility_term,
    "angle": angle_term,
    "bckd_cls": bckd_cls_term,
    "bckd_box": bckd_box_term,
    "ld": ld_term,
    "dfine": dfine_term,
    "crosshead": crosshead_term,
}
"""Function `(student, targets) -> Sums | None` of each term by its name; None means that no teacher can be compared
with the student in this. `ld` and `dfine` take a `temperature` too. `crosshead` expects the outputs of the teacher's
head for the student's maps in the place of the student's."""
COMPARED_OUTPUT = {"bckd_cls": "cls", "bckd_box": "box", "ld": "box", "dfine": "box", "crosshead": "cls"}
"""Output of a head that the terms compare which are named otherwise: where a teacher teaches it, it teaches them."""
SPARSE_TERMS = ("ld",)
"""Terms that compare few anchors in every task, so that a level may get no gradient from a batch."""


class HeadTerms(NamedTuple):
    """The weighted terms of one branch of a head.

    Args:
        terms: scalars by name, in the order of the weights.
        shares: (teachers,), sum of each teacher's confidences over anchors and images; without gradient.
    """

    terms: dict[str, Tensor]
    shares: Tensor


class HeadLoss(nn.Module):
    """Terms between the outputs of a student's head and its teachers', anchor by anchor.

    Convention:
        A teacher's confidence in an anchor is the largest probability of the classes that it knows there. The cost of
        an anchor is weighted by it, and the sum over teachers, anchors and images is divided by the sum of the
        confidences (at least 1), as Ultralytics divides its own losses by the sum of its target scores: a teacher has
        the share in a term that its confidences have. The class term joins the teachers to one target instead, and
        background counts in it where the student sees an object that the target does not. The terms of BCKD, LD, D-FINE
        and cross-head imitation have divisors of their own. A term that no teacher has is 0.

    Args:
        weights: factor of each term, by its name in `HEAD_TERMS`; at 0 the term is not computed.
        temperatures: temperatures of the terms that have one, by their names; a term has its own default.

    Raises:
        ValueError: a term does not exist.
    """

    def __init__(self, weights: Mapping[str, float], temperatures: Mapping[str, float] | None = None):
        super().__init__()
        unknown = [name for name in weights if name not in HEAD_TERMS]
        if unknown:
            raise ValueError(f"no head term is called {unknown[0]!r}: there are {', '.join(HEAD_TERMS)}")
        self.weights = dict(weights)
        self.settings = {name: {"temperature": value} for name, value in (temperatures or {}).items()}

    def forward(self, student: Predictions, teachers: Sequence[TeacherPredictions]) -> HeadTerms:
        """Compare heads' outputs for the same anchors, in float32 (float64 for float64 outputs) under autocast too.

        Args:
            student: outputs of the student's head, with gradient.
            teachers: outputs of the teachers' heads, at least one; they get no gradient.

        Returns:
            The weighted terms, averaged over the batch's confident anchors, and the teachers' shares.

        Raises:
            ValueError: a teacher knows none of the classes.
        """
        with torch.autocast(student.scores.device.type, enabled=False):
            student, targets = in_float32(student), [target_of(teacher) for teacher in teachers]
            terms = {name: self._term(name, student, targets) for name in self.weights}
            return HeadTerms(terms, torch.stack([target.confidence.sum() for target in targets]))

    def _term(self, name: str, student: Predictions, targets: Sequence[HeadTarget]) -> Tensor:
        settings = self.settings.get(name, {})
        sums = HEAD_TERMS[name](student, targets, **settings) if self.weights[name] else None
        if sums is None:
            return student.scores.new_zeros(())
        return self.weights[name] * sums.cost / sums.divisor.clamp(min=1)
