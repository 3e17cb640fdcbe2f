"""Load the teachers of a training: choose the classes that each teaches, pair its levels, and freeze it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.class_columns import check_class_map, predict_classes, same_classes
from fgd_yolo.config import FGDConfig
from fgd_yolo.console import short_names
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.methods import METHODS
from fgd_yolo.neck import SAME_SIZE, Level, pair_levels, unpaired_levels
from fgd_yolo.task_table import TASKS, image_channels, task_of_model
from fgd_yolo.training.heads.head_methods import (
    DFL_TERMS,
    bins_in_student_units,
    edge_bins,
    missing_dfl,
    terms_of_methods,
)
from fgd_yolo.training.teachers.class_selection import describe_classes, selected_classes, taught_classes, without_heads
from fgd_yolo.training.teachers.image_sizes import ImageSizes, check_teacher_imgsz
from fgd_yolo.training.teachers.other_tasks import Labels, shared_task, teachable_terms, unused_weights
from fgd_yolo.training.teachers.teacher import FrozenTeacher, Teacher
from fgd_yolo.ultralytics import largest_stride, load_model


def load_teachers(
    files: Sequence[Path],
    student: nn.Module,
    data: dict[str, Any],
    config: FGDConfig,
    arguments: Any,
    device: Any,
    sizes: ImageSizes | None = None,
    frames: bool = False,
) -> tuple[list[Teacher], FGDConfig]:
    """Load the teachers of a training.

    Args:
        files: checkpoints, in the order of `--teacher`.
        student: the live model, before its training.
        data: what Ultralytics reads from the data YAML.
        config: options of the distillation.
        arguments: the trainer's arguments.
        device: device to run on.
        sizes: sizes of the images if the teachers see larger ones than the student.
        frames: whether the teachers label unlabelled frames.

    Returns:
        The teachers, and the options, without imitation of the heads if no teacher knows a class of the data, or the
        teachers' images are not a whole number of times as large.

    Raises:
        FGDError: a teacher reads other channels, or nothing is left to teach.
        UsageError: the class map names a class that does not exist.
    """
    labels = short_names(files)
    models = [load_model(file)[0] for file in files]
    if sizes is not None:
        check_teacher_imgsz(sizes.teacher, sizes.student, dict(zip(labels, map(largest_stride, models), strict=True)))
    for model in models:
        check_channels(model, data["channels"])
    own_names = [dict(model.names) for model in models]
    selected = selected_classes(arguments.classes, arguments.single_cls, len(data["names"]))
    taught = _choose_classes(labels, models, data["names"], config.map, selected)
    if all(classes == [] for classes in taught):
        wanted = {number: name for number, name in data["names"].items() if selected is None or number in selected}
        everything = dict(enumerate(name for names in own_names for name in names.values()))
        config = without_heads(config, labels, everything, wanted)
    scale = SAME_SIZE if sizes is None else sizes.scale
    if scale.denominator != 1:
        config = without_whole_factor(config, sizes)
    teachers, bins = [], _edge_bins(labels, models, sizes)
    for label, model, classes in zip(labels, models, taught, strict=True):
        levels = pair_levels(student, model, scale)
        terms = _terms_of_head(label, student, model, config, scale)
        _log_levels(label if len(files) > 1 else None, student, model, levels, sizes)
        labels_frames = can_label(model, student)
        frozen = FrozenTeacher(model, device, torch.channels_last, heads=frames or _needs_heads(config))
        factor = scale.numerator if scale.denominator == 1 else 1
        teachers.append(Teacher(label, frozen, levels, classes, terms, factor, labels_frames))
    _warn_of_idle(teachers, config, frames)
    _check_dfl(config, edge_bins(student.model[-1]), bins, teachers)
    for line in unused_weights(student, config.heads):
        LOGGER.warning(f"{colorstr('FGD:')} {line}")
    return teachers, config


def check_channels(teacher: nn.Module, data_channels: int) -> None:
    """Stop unless the teacher reads images with as many channels as the data has.

    Raises:
        FGDError: it does not.
    """
    channels = image_channels(teacher.yaml)
    if channels != data_channels:
        raise FGDError(
            f"the teacher reads {channels}-channel images, the data has {data_channels}: train the teacher on this data"
        )


def _edge_bins(labels: Sequence[str], models: Sequence[nn.Module], sizes: ImageSizes | None) -> dict[str, int]:
    """Return the bins per edge of each teacher's boxes, by its name in messages."""
    scale = SAME_SIZE if sizes is None else sizes.scale
    size = "" if scale == SAME_SIZE else f" at {sizes.teacher} px"
    return {f"{label}{size}": bins_in_student_units(model, scale) for label, model in zip(labels, models, strict=True)}


def can_label(teacher: nn.Module, student: nn.Module) -> bool:
    """Return whether a teacher predicts all that labels of the student's task hold."""
    return shared_task(Labels.of_model(student), teacher) is TASKS[task_of_model(student).name]


def _terms_of_head(
    label: str, student: nn.Module, teacher: nn.Module, config: FGDConfig, scale: Fraction
) -> tuple[str, ...]:
    """Return the terms by which the student can imitate the head of a teacher; log what it cannot imitate."""
    terms, note = teachable_terms(student, teacher)
    if note is not None and config.heads.weights:
        LOGGER.info(f"{colorstr('FGD:')} {label}: {note}")
    terms += terms_of_methods(terms, student, teacher)
    return tuple(term for term in terms if scale == SAME_SIZE or term not in DFL_TERMS)


def _check_dfl(config: FGDConfig, student_bins: int, teacher_bins: dict[str, int], teachers: Sequence[Teacher]) -> None:
    """Warn of terms that no teacher teaches, since they need DFL; stop if nothing else is distilled.

    Raises:
        UsageError: nothing else is distilled.
    """
    asked, taught = _asked_terms(config), {term for teacher in teachers for term in teacher.terms}
    problem = missing_dfl(asked, student_bins, teacher_bins)
    if problem is None or "bckd_box" not in taught:  # otherwise another reason comes first
        return
    problem += "; use bckd_box, which compares boxes without DFL"
    if not asked & taught and not any(config.features.weights.values()):
        raise UsageError(problem)
    LOGGER.warning(f"{colorstr('FGD:')} {problem}")


def _asked_terms(config: FGDConfig) -> set[str]:
    """Return the terms of the heads that have a weight."""
    return {name.removeprefix("head_") for name, weight in config.heads.weights.items() if weight}


def _needs_heads(config: FGDConfig) -> bool:
    """Return whether the outputs of the teachers' heads are compared, or their scores weight the features."""
    scored = any(METHODS[name].needs_scores for name in config.feature_methods)
    return scored or any(config.heads.weights.values())


def _warn_of_idle(teachers: Sequence[Teacher], config: FGDConfig, frames: bool) -> None:
    """Warn of each teacher that teaches nothing: the features are another's, its head is not imitated, nor are frames
    labelled by it."""
    asked = _asked_terms(config)
    features = "crosshead" in asked or any(config.features.weights.values())  # both are of one teacher
    heads = asked - {"crosshead"}
    for place, teacher in enumerate(teachers, start=1):
        knows_classes = teacher.known != []
        labels = frames and teacher.labels_frames
        if (features and place == config.features.teacher) or (knows_classes and (labels or heads & {*teacher.terms})):
            continue
        reason = "its head cannot be imitated" if knows_classes else "it knows no class that is trained"
        reason = reason if heads else "no head is imitated"
        reason += f", and features are those of teacher {config.features.teacher}" * features
        remedy = "leave it out" + ", or name equal classes (map=a=b)" * (bool(heads) and not knows_classes)
        LOGGER.warning(f"{colorstr('FGD:')} teacher {teacher.name} teaches nothing: {reason}; {remedy}")


def _choose_classes(labels, models, names, class_map, selected) -> list[list[int] | None]:
    """Let every teacher predict the classes of the data; return those that each teaches, None for all."""
    own_names = [dict(model.names) for model in models]
    # One that was fine-tuned has the classes of the data in place of those that the map may name.
    if not any(same_classes(own, names) for own in own_names):
        check_class_map(class_map, own_names, names)
    taught, notes = [], []
    for label, model, own in zip(labels, models, own_names, strict=True):
        known = predict_classes(model, names, class_map)
        taught.append(taught_classes(known, selected, len(names)))
        if not same_classes(own, names):
            notes.append(describe_classes(label, known, names))
    if any(classes != [] for classes in taught):  # otherwise a warning says it
        for note in notes:
            LOGGER.info(f"{colorstr('FGD:')} {note}")
    return taught


def without_whole_factor(config: FGDConfig, sizes: ImageSizes) -> FGDConfig:
    """Return the options without imitation of heads, for teachers whose cells do not tile those of the student.

    Raises:
        UsageError: nothing else is distilled.
    """
    problem = f"teacher_imgsz={sizes.teacher} is not a whole multiple of the student's {sizes.student} px"
    if not any(config.features.weights.values()):
        raise UsageError(f"{problem}, so no head can be imitated: use {2 * sizes.student}, or distil features too")
    if not any(config.heads.weights.values()):
        return config
    LOGGER.warning(f"{colorstr('FGD:')} {problem}: only features teach, no head is imitated")
    return config.without_heads()


def _log_levels(
    label: str | None, student: nn.Module, teacher: nn.Module, levels: Sequence[Level], sizes: ImageSizes | None
) -> None:
    """Log which levels are paired; the teacher is named if there are several."""
    named = "teacher" if label is None else f"teacher {label}"
    for level in levels:
        note = "" if level.same_grid else f" (at {sizes.teacher} px, resized)"
        LOGGER.info(
            f"{colorstr('FGD:')} stride {level.stride}: student {level.student_channels} channels, "
            f"{named} {level.teacher_channels}{note}"
        )
    for line in unpaired_levels(student, teacher):
        LOGGER.info(f"{colorstr('FGD:')} {line if label is None else f'{label}: {line}'}")
