"""What a teacher's head can teach by the methods that compare heads otherwise than by the terms of a task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

from torch import nn

from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.methods.head_loss import COMPARED_OUTPUT
from fgd_yolo.task_table import task_of_model

DFL_TERMS = tuple(name for name, options in METHOD_OPTIONS.items() if options.needs_dfl)


def terms_of_methods(terms: Sequence[str], student: nn.Module, teacher: nn.Module) -> tuple[str, ...]:
    """Return the terms of further methods by which a student can imitate the head of a teacher.

    They compare outputs that a term of the student's task compares too, and some of them need the same DFL bins on
    both sides. Cross-head imitation needs nothing of the student's head, and a head of the teacher that predicts for
    each cell.

    Args:
        terms: terms of the student's task that the teacher teaches.
        student: Ultralytics model of a task of `TASKS`, or RT-DETR.
        teacher: another one, complete.
    """
    bins = {edge_bins(student.model[-1]), edge_bins(teacher.model[-1])}
    same_bins = len(bins) == 1 and bins != {1}
    taught = [term for term, output in COMPARED_OUTPUT.items() if output in terms and term != "crosshead"]
    crosshead = ("crosshead",) if task_of_model(teacher).head_terms else ()
    return (*(term for term in taught if same_bins or term not in DFL_TERMS), *crosshead)


def edge_bins(head: nn.Module) -> int:
    """Return the number of bins of each edge of a box; 1 for a head without DFL."""
    return int(getattr(head, "reg_max", 1))


def bins_in_student_units(teacher: nn.Module, scale: Fraction) -> int:
    """Return the number of bins of each edge of a teacher's boxes; 0 if they are in other units than the student's.

    Args:
        teacher: Ultralytics model.
        scale: side of the teacher's images over that of the student's.
    """
    bins = edge_bins(teacher.model[-1])
    return bins if scale == 1 or bins == 1 else 0


def missing_dfl(asked: Collection[str], student_bins: int, teacher_bins: Mapping[str, int]) -> str | None:
    """Return why terms that compare distributions of edges cannot be taught, or None if a teacher can teach them.

    Args:
        asked: terms that have a weight.
        student_bins: bins of each edge of the student's boxes.
        teacher_bins: bins of each teacher, by its name; 0 if they are in other units than the student's.
    """
    terms = [term for term in DFL_TERMS if term in asked]
    if not terms or (student_bins > 1 and student_bins in teacher_bins.values()):
        return None
    sides = {"the student": student_bins, **{f"teacher {name}": bins for name, bins in teacher_bins.items()}}
    words = {0: "bins of another unit", 1: "no DFL"}
    found = ", ".join(f"{side} has {words.get(bins, f'{bins} bins')}" for side, bins in sides.items())
    return (
        f"{' and '.join(terms)} {'compares' if len(terms) == 1 else 'compare'} the distributions of box edges (DFL), "
        f"which need as many bins on both sides: {found}"
    )
