"""The method of a run whose user names none: the default, or what of it these models can teach."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fgd_yolo.config import Recipe, method_names, part_of_default
from fgd_yolo.console import print_status
from fgd_yolo.errors import UsageError
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.heads.head_methods import (
    DFL_TERMS,
    bins_in_student_units,
    edge_bins,
    missing_dfl,
    terms_of_methods,
)
from fgd_yolo.training.teachers.other_tasks import teachable_terms
from fgd_yolo.workflow.resolve import Model, built, teacher_names


def choose_method(recipe: Recipe, student: Model, teachers: Sequence[Model], classes_taught: bool) -> Recipe:
    """Return a recipe with a method, and print which one if it is not the default.

    Convention:
        A method that the user names is not changed. Of the default, methods that compare distributions of box edges
        are left out if no teacher has such distributions of such boxes, those that need the student's targets if frames
        have none (`pseudo=false`), and all that compare heads if no head can be imitated.

    Args:
        recipe: recipe of a run, with `imgsz` in whole strides among its train arguments.
        student: model of the student.
        teachers: models of the teachers; empty without distillation.
        classes_taught: whether a teacher knows a class that the training selects, or will after its fine-tuning.

    Raises:
        UsageError: the recipe has options of a method that is left out.
    """
    if "method" in recipe.given or not teachers:
        return recipe
    method, reason = _part_of_default(recipe, student, teachers, classes_taught)
    try:
        chosen = recipe.replace(method=method)
    except UsageError as error:
        raise UsageError(f"{error}; the default method {part_of_default()} cannot be used: {reason}") from error
    if reason is not None:
        print_status(f"method {method}, not the default {part_of_default()}: {reason}")
    return chosen


def _part_of_default(
    recipe: Recipe, student: Model, teachers: Sequence[Model], classes_taught: bool
) -> tuple[str, str | None]:
    """Return the method, and why it is not the default; None if it is."""
    without_heads = part_of_default(heads=False)
    if not classes_taught:
        return without_heads, "no teacher knows a class of the data"
    imgsz = {**ultralytics_defaults(), **recipe.train}["imgsz"]
    scale = Fraction(recipe.teacher_imgsz or imgsz, imgsz)
    if scale.denominator != 1:
        reason = f"teacher_imgsz={recipe.teacher_imgsz} is not a whole multiple of the student's {imgsz} px"
        return without_heads, reason
    own, others = built(student), [built(teacher) for teacher in teachers]
    found = [teachable_terms(own, other) for other in others]
    if not any(terms for terms, _ in found):
        return without_heads, next(note for _, note in found)
    if not recipe.pseudo and part_of_default(targets=False) != part_of_default():
        return part_of_default(targets=False), "pseudo=false leaves frames without the targets that it needs"
    names = teacher_names(teachers)
    bins = {name: bins_in_student_units(other, scale) for name, other in zip(names, others, strict=True)}
    asked = method_names(part_of_default())
    reason = missing_dfl(asked, edge_bins(own.model[-1]), bins)
    taught = {
        term for (terms, _), other in zip(found, others, strict=True) for term in terms_of_methods(terms, own, other)
    }
    if reason is None and {*asked} & {*DFL_TERMS} - taught:  # upright boxes on one side, rotated ones on the other
        reason = next(note for _, note in found if note is not None)
    return part_of_default(dfl=reason is None), reason
