"""How far a student agrees with its teachers on held-out frames, where no labels say who is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from fgd_yolo.disagreement.frame_scores import AGREED, EXTRA, MISSED, FrameScore, mean_agreement, score_frame
from fgd_yolo.labelling import ImageLabels, label_images
from fgd_yolo.task_table import task_of_model
from fgd_yolo.ultralytics import load_model
from fgd_yolo.workflow.unlabeled import label_by_teachers

LOWEST_SCORE = 0.1
"""Score above which an object of the student counts in the calibration."""
BINS = 10


class Agreement(NamedTuple):
    """How far two models agree on frames.

    Args:
        frames: number of frames.
        agreed: objects of which both are confident.
        missed: objects of which only the teacher is confident.
        extra: objects of which only the student is confident.
        agreement: sum of the lower scores over that of the higher ones, mean over the frames; None without objects.
        score_difference: mean of student's score - teacher's over the objects of which both are confident; None
            without any.
        calibration_error: mean gap between the student's scores and the teacher's for the same objects, 0 where it sees
            none, by score; None without objects.
    """

    frames: int
    agreed: int
    missed: int
    extra: int
    agreement: float | None
    score_difference: float | None
    calibration_error: float | None


def measure_agreement(
    student: Path,
    teachers: Sequence[Path],
    images: Sequence[Path],
    names: Mapping[int, str],
    class_map: Mapping[str, str],
    score: float,
    teacher_imgsz: int | None,
    imgsz: int,
    device: Any = None,
) -> Agreement:
    """Run both models on held-out frames and compare what they find.

    Args:
        student: checkpoint of the student.
        teachers: checkpoints of the teachers; a class is labelled by the first that knows it.
        images: the frames.
        names: classes of the student.
        class_map: class of the student by class of a teacher.
        score: score from which a model is confident of an object.
        teacher_imgsz: longer side of the teachers' input in pixels; None for that of the student.
        imgsz: longer side of the student's input in pixels.
        device: device to run on.
    """
    settings = {"min_score": min(LOWEST_SCORE, score), "device": device}
    own = label_images(student, images, names=names, imgsz=imgsz, **settings)
    task = task_of_model(load_model(student)[0]).name
    others = label_by_teachers(teachers, images, names, class_map, task, imgsz=teacher_imgsz or imgsz, **settings)
    return compare_frames(own, others, score)


def compare_frames(student: Sequence[ImageLabels], teacher: Sequence[ImageLabels], score: float) -> Agreement:
    """Return the agreement of two models on the same frames, with objects from `LOWEST_SCORE`.

    Args:
        student: what the student finds on the frames.
        teacher: what the teacher finds there.
        score: score from which a model is confident of an object.
    """
    pairs = list(zip(teacher, student, strict=True))
    frames = [score_frame(theirs, own, score) for theirs, own in pairs]
    differences = [
        entry.scores[1] - entry.scores[0] for frame in frames for entry in frame.objects if entry.kind == AGREED
    ]
    counts = {kind: sum(frame.count(kind) for frame in frames) for kind in (AGREED, MISSED, EXTRA)}
    return Agreement(
        frames=len(frames),
        agreed=counts[AGREED],
        missed=counts[MISSED],
        extra=counts[EXTRA],
        agreement=mean_agreement(frames),
        score_difference=fmean(differences) if differences else None,
        calibration_error=_calibration_error([score_frame(*pair, min(LOWEST_SCORE, score)) for pair in pairs]),
    )


def _calibration_error(frames: Sequence[FrameScore]) -> float | None:
    """Return the expected calibration error of the student's scores.

    Source:
        Guo et al., arXiv:1706.04599, equation 3, with `BINS` bins of equal width. The truth is the teacher's score, not
        whether an object is right, so that a student that scores as its teacher does has 0.
    """
    seen = [entry.scores for frame in frames for entry in frame.objects if entry.student is not None]
    if not seen:
        return None
    teacher, student = np.array(seen, float).T
    bins = np.minimum((student * BINS).astype(int), BINS - 1)
    gaps = [abs(student[bins == number].sum() - teacher[bins == number].sum()) for number in range(BINS)]
    return float(sum(gaps) / len(seen))


def agreement_note(labelled_by: Mapping[str, Any], agreement: Mapping[str, Any] | None) -> list[str]:
    """Return the lines below a table whose numbers are agreement with the teacher.

    Args:
        labelled_by: entry of this name in the data YAML.
        agreement: `Agreement` as a mapping; None if it was not measured.
    """
    lines = [
        f"No labels: these numbers are agreement with {labelled_by['teacher']}, not accuracy: mAP against its objects "
        f"above {labelled_by['score']:g}."
    ]
    if agreement is not None:
        counts = f"{agreement['agreed']} objects seen by both, {agreement['missed']} missed, "
        counts += f"{agreement['extra']} only by the student"
        parts = {
            "agreement of the scores": agreement["agreement"],
            "student's score - teacher's": agreement["score_difference"],
            "calibration error": agreement["calibration_error"],
        }
        figures = ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value is not None)
        lines.append(f"On {agreement['frames']} held-out frames {counts}{'; ' * bool(figures)}{figures}.")
    return lines
