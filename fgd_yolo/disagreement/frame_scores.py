"""Match what two models see on a frame, and score how much they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
import torch
from torchvision.ops import box_iou

from fgd_yolo.export.matching import SIMILAR_OVERLAP
from fgd_yolo.labelling import ImageLabels, LabelledObject

MISSED, EXTRA, AGREED = "missed", "extra", "agreed"
KINDS = (MISSED, EXTRA, AGREED)
"""What an object is: only the teacher is confident of it, only the student is, or both are."""


@dataclass(frozen=True, eq=False)
class ComparedObject:
    """An object as both models see it.

    Args:
        kind: one of `KINDS`.
        teacher: what the teacher sees, or None.
        student: what the student sees, or None.
        overlap: IoU of the boxes; 0 if one of them does not see it.
    """

    kind: str
    teacher: LabelledObject | None
    student: LabelledObject | None
    overlap: float

    @property
    def class_id(self) -> int:
        """Number of its class."""
        return (self.teacher or self.student).class_id

    @property
    def scores(self) -> tuple[float, float]:
        """The teacher's and the student's score; 0 for one that does not see it."""
        return tuple(0.0 if seen is None else seen.score for seen in (self.teacher, self.student))


@dataclass(frozen=True, eq=False)
class FrameScore:
    """How much two models disagree on a frame.

    Args:
        teacher: what the teacher sees.
        student: what the student sees.
        objects: the objects of which at least one of them is confident.
    """

    teacher: ImageLabels
    student: ImageLabels
    objects: tuple[ComparedObject, ...]

    @cached_property
    def disagreement(self) -> float:
        """Sum of the differences of the scores over the objects."""
        return sum(abs(teacher - student) for teacher, student in (entry.scores for entry in self.objects))

    @cached_property
    def agreement(self) -> float | None:
        """Sum of the lower scores over that of the higher ones, in [0, 1]; None on a frame without objects."""
        if not self.objects:
            return None
        return sum(min(entry.scores) for entry in self.objects) / sum(max(entry.scores) for entry in self.objects)

    def count(self, kind: str) -> int:
        """Return the number of objects of a kind."""
        return sum(entry.kind == kind for entry in self.objects)


def score_frame(teacher: ImageLabels, student: ImageLabels, confident: float) -> FrameScore:
    """Match the objects of a frame and score the disagreement.

    Convention:
        Objects match if their class is the same and their upright boxes overlap by IoU 0.5, each object once: first
        pairs of which both models are confident, then others, by falling IoU. An object counts if at least one model
        is confident of it; it is agreed if both are. One that a model does not see has the score 0 there, so a missed
        object of the teacher's score 0.9 adds 0.9 to the disagreement, and 0.6 if the student sees it with 0.3.

    Args:
        teacher: what the teacher sees, also with low scores.
        student: what the student sees on the same frame.
        confident: score from which a model is confident.
    """
    pairs = _matches(teacher.objects, student.objects, confident)
    alone = [
        (entry, None, 0.0) for number, entry in enumerate(teacher.objects) if number not in {t for t, _, _ in pairs}
    ]
    alone += [
        (None, entry, 0.0) for number, entry in enumerate(student.objects) if number not in {s for _, s, _ in pairs}
    ]
    both = [(teacher.objects[t], student.objects[s], overlap) for t, s, overlap in pairs]
    objects = [
        ComparedObject(kind, mine, other, overlap)
        for mine, other, overlap in both + alone
        if (kind := _kind(mine, other, confident))
    ]
    objects.sort(key=lambda entry: -abs(entry.scores[0] - entry.scores[1]))
    return FrameScore(teacher, student, tuple(objects))


def _kind(teacher: LabelledObject | None, student: LabelledObject | None, confident: float) -> str | None:
    """Return the kind of an object, or None if no model is confident of it."""
    sees = tuple(seen is not None and seen.score >= confident for seen in (teacher, student))
    return {(True, False): MISSED, (False, True): EXTRA, (True, True): AGREED}.get(sees)


def _matches(
    teacher: Sequence[LabelledObject], student: Sequence[LabelledObject], confident: float
) -> list[tuple[int, int, float]]:
    """Return the places of matching objects in both lists, with the IoU of their boxes."""
    if not teacher or not student:
        return []
    boxes = [torch.from_numpy(np.stack([entry.xyxy for entry in objects])) for objects in (teacher, student)]
    overlaps = box_iou(*boxes).numpy()
    candidates = [
        (min(teacher[t].score, student[s].score) >= confident, float(overlaps[t, s]), int(t), int(s))
        for t, s in zip(*np.nonzero(overlaps >= SIMILAR_OVERLAP), strict=True)
        if teacher[t].class_id == student[s].class_id
    ]
    pairs: list[tuple[int, int, float]] = []
    for _, overlap, t, s in sorted(candidates, reverse=True):
        if all(t != one and s != other for one, other, _ in pairs):
            pairs.append((t, s, overlap))
    return pairs


def rank(frames: Sequence[FrameScore]) -> list[FrameScore]:
    """Return the frames by falling disagreement; equal ones stay in order."""
    return sorted(frames, key=lambda frame: -frame.disagreement)


def mean_agreement(frames: Sequence[FrameScore]) -> float | None:
    """Return the mean agreement of the frames that have objects, or None without any."""
    values = [frame.agreement for frame in frames if frame.agreement is not None]
    return fmean(values) if values else None


def count_kinds(frames: Sequence[FrameScore]) -> dict[int, dict[str, int]]:
    """Return the numbers of missed, extra and agreed objects by class, for the classes that were seen."""
    counts = Counter((entry.class_id, entry.kind) for frame in frames for entry in frame.objects)
    return {number: {kind: counts[number, kind] for kind in KINDS} for number in sorted({key for key, _ in counts})}
