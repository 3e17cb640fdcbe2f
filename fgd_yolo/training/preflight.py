"""The preflight: the checks before the first epoch.

A teacher that does not fit the data stops the run; one that can probably teach the student little causes a warning.
Checks that need a batch are in `first_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.torch_utils import get_flops

from fgd_yolo.class_columns import predict_classes, same_classes
from fgd_yolo.config import METHOD_OPTIONS, FGDConfig
from fgd_yolo.datasets import count_seen
from fgd_yolo.errors import FGDError
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.task_table import TASKS, Accuracy, YoloTask, accuracy, task_of_model
from fgd_yolo.training.teachers.class_selection import selected_classes, taught_classes
from fgd_yolo.training.teachers.other_tasks import Labels, shared_task, teacher_validator
from fgd_yolo.ultralytics import load_model, validate

MAX_SIZE_FACTOR = 1.5  # between the teacher's own image size and that of the training, up or down


def check_boxes(config: FGDConfig, labels: Iterable[Mapping[str, Any]], data: str | Path) -> None:
    """Stop if a method needs labelled objects and no train image has one.

    Args:
        config: options of the distillation.
        labels: labels of the train images, as Ultralytics' dataset has them.
        data: name of the data, for the message.

    Raises:
        FGDError: there is none; the message names methods that need none.
    """
    needing = [name for name in config.weighted_methods if METHOD_OPTIONS[name].needs_boxes]
    if not needing or any(len(label["cls"]) for label in labels):
        return
    others = [name for name, options in METHOD_OPTIONS.items() if not options.needs_boxes]
    raise FGDError(
        f"method {'+'.join(needing)} needs labelled objects, and no train image of {data} has one: label some, or "
        f"choose among the methods without (method={', '.join(others)})"
    )


def check_teachers(
    files: Sequence[Path],
    labels: Sequence[str],
    student: nn.Module,
    loader,
    args,
    names: Mapping[int, str],
    config: FGDConfig,
    teachers_loader: Any = None,
) -> float | None:
    """Check each teacher as in `check_teacher`; the student is measured once, if at all.

    Args:
        files: the teachers' checkpoints.
        labels: names of the teachers, which are used in messages if there are several.
        student: as in `check_teacher`, and the following.
        loader: the trainer's validation loader.
        teachers_loader: loader of the same images at `teacher_imgsz`, if that is given; None for `loader`.

    Returns:
        mAP50-95 of the best teacher over the classes that it teaches; None if none was measured.
    """
    teachers_loader = teachers_loader or loader

    @cache
    def starting_metrics() -> Any:
        return validate(deepcopy(student).eval(), vars(args), task=args.task, loader=loader).metrics

    measured = [
        check_teacher(
            *(file, student, starting_metrics, teachers_loader, args, names, config),
            label=label if len(files) > 1 else None,
        )
        for file, label in zip(files, labels, strict=True)
    ]
    return max((value for value in measured if value is not None), default=None)


def warn_of_seen_images(args, val_images: Iterable[str]) -> None:
    """Log a warning if the student starts from weights that were trained on val images.

    Args:
        args: the trainer's arguments.
        val_images: image files that the student is measured on.
    """
    start = starting_checkpoint(args.model, args.pretrained)
    if start is not None:
        for warning in val_image_warnings(start.file, start.recorded, val_images, "student"):
            LOGGER.warning(f"{colorstr('FGD:')} {warning}")


def check_teacher(
    path: Path,
    student: nn.Module,
    starting_metrics: Callable[[], Any],
    loader,
    args,
    names: Mapping[int, str],
    config: FGDConfig,
    *,
    label: str | None = None,
) -> float | None:
    """Measure a teacher on the student's validation images, and log the reasons why it may teach little.

    Its accuracy is the mean over the classes that it teaches; without any it is not measured. No random number is drawn
    and neither model changes.

    Args:
        path: the teacher's checkpoint.
        student: the live model, before its training.
        starting_metrics: returns the metrics of the student's validation before its training.
        loader: loader of the val images at the teacher's image size.
        args: the trainer's arguments.
        names: classes of the data.
        config: options of the distillation, with the class map and the lowest mAP50-95 that is accepted.
        label: name of the teacher in warnings and errors if it is one of several.

    Returns:
        mAP50-95 over the classes that it teaches; None if it was not measured.

    Raises:
        FGDError: the teacher's mAP50-95 is too low.
    """
    teacher, checkpoint = load_model(path)
    known = predict_classes(teacher, names, config.map)
    classes = taught_classes(known, selected_classes(args.classes, args.single_cls, len(names)), len(names))
    trained = checkpoint.get("train_args") or {}
    imgsz = config.teacher_imgsz or args.imgsz
    with preserve_random_state():
        warnings = model_warnings(teacher, student, args.imgsz, imgsz)
    warnings += image_size_warnings(trained.get("imgsz"), imgsz)
    warnings += val_image_warnings(path, trained.get("data"), loader.dataset.im_files)
    measured = None
    if classes != []:
        stretched = task_of_model(student).stretched
        measured = _teacher_accuracy(teacher, label or path.name, classes, loader, args, imgsz, stretched)
    if measured is not None:
        named = f"the teacher {label}" if label else "the teacher"
        check_teacher_map(measured.map50_95, config.checks.min_teacher_map, named)
        if starts_with_classes(args.model, args.pretrained, names):
            begins = accuracy(starting_metrics(), TASKS[args.task], classes)
            same_task = shared_task(_labels(loader, args), teacher).name == args.task
            begins_at = begins.map50_95 if same_task else begins.box_map50_95
            warnings += start_warnings(measured.map50_95, begins_at)
    for warning in warnings:
        LOGGER.warning(f"{colorstr('FGD:')} {f'{label}: ' if label else ''}{warning}")
    return None if measured is None else measured.map50_95


def _teacher_accuracy(
    teacher: nn.Module, name: str, classes: list[int] | None, loader, args, imgsz: int, stretched: bool
) -> Accuracy | None:
    """Return, and log, the accuracy of a teacher over the classes that it teaches, None for all.

    It is measured on the images of the loader, unless these are stretched to a square and its own are not, or the
    reverse. That of a teacher of another task, or of other keypoints, is the accuracy of its boxes, or None if it
    cannot be measured.

    Args:
        stretched: whether the images of the loader are stretched.
    """
    labels, own = _labels(loader, args), task_of_model(teacher)
    task = shared_task(labels, teacher)
    if task is None:
        LOGGER.info(
            f"{colorstr('FGD:')} teacher {name}: its {own.measured} cannot be measured on labels for {args.task}, "
            "so its mAP is not checked"
        )
        return None
    arguments, validator = {**vars(args), "imgsz": imgsz}, teacher_validator(labels, teacher)
    if own.stretched == stretched:
        run = validate(teacher, arguments, loader=loader, validator=validator)
    else:  # the teacher's images are prepared in another way than the student's
        run = validate(teacher, {**arguments, "rect": True}, validator=validator)
    measured = accuracy(run.metrics, task, classes)
    text = describe_accuracy(measured, task) + " of its boxes" * (not task.name == own.name == args.task)
    over = "" if classes is None else f", over {len(classes)} of {len(teacher.names)} classes"
    size = f" at {imgsz} px" * (imgsz != args.imgsz)
    LOGGER.info(f"{colorstr('FGD:')} teacher {name}: {text} on this val set{size}{over}")
    return measured


def _labels(loader, args) -> Labels:
    return Labels.of_data(TASKS[args.task], loader.dataset.data)


def describe_accuracy(measured: Accuracy, task: YoloTask) -> str:
    """Return an accuracy as text, with that of the boxes where the task predicts more than boxes."""
    text = f"mAP50-95 {measured.map50_95:.3f}, mAP50 {measured.map50:.3f}"
    if task.metric == "box":
        return text if task.measured == "boxes" else f"{text} of {task.measured}"
    return f"{text} of {task.measured} (boxes {measured.box_map50_95:.3f}, {measured.box_map50:.3f})"


def check_teacher_map(map50_95: float, min_map: float, teacher: str = "the teacher") -> None:
    """Stop if a teacher's mAP50-95 is below `min_map`, since nothing could be learnt from it.

    Raises:
        FGDError: it is below.
    """
    if not map50_95 >= min_map:
        raise FGDError(
            f"{teacher} reaches mAP50-95 {map50_95:.3f} on this validation set, below {min_map:g}: it is the "
            "wrong file, or was trained too briefly, on other data or at another image size; train it longer on this "
            "data first"
        )


def model_warnings(teacher: nn.Module, student: nn.Module, imgsz: int, teacher_imgsz: int | None = None) -> list[str]:
    """Return warnings about a teacher that is smaller than the student, or the same model.

    Args:
        teacher: complete model; not changed.
        student: the student before its training; not changed.
        imgsz: side of the images, in pixels.
        teacher_imgsz: that of the teacher's images; None for the same.
    """
    warnings, smaller = [], []
    teacher_size, teacher_flops = model_cost(teacher, teacher_imgsz or imgsz)
    student_size, student_flops = model_cost(student, imgsz)
    if teacher_size < student_size:
        smaller.append(f"{teacher_size / 1e6:.2f} M parameters, the student {student_size / 1e6:.2f} M")
    if teacher_flops < student_flops:
        smaller.append(f"{teacher_flops:.2f} GFLOPs, the student {student_flops:.2f}")
    if smaller:
        warnings.append(f"the teacher is smaller than the student: it has {', and '.join(smaller)}")
    if _same_weights(teacher, student):
        warnings.append("teacher and student start from the same weights: the student has nothing to learn")
    return warnings


def image_size_warnings(trained: Any, imgsz: int) -> list[str]:
    """Return a warning about a teacher that was trained at a very different image size.

    Args:
        trained: `imgsz` of the teacher's own training, as recorded in its checkpoint.
        imgsz: size of the images that it gets in this training, in pixels.
    """
    own = max(trained) if isinstance(trained, (list, tuple)) and trained else trained
    if not isinstance(own, int) or own <= 0 or 1 / MAX_SIZE_FACTOR <= imgsz / own <= MAX_SIZE_FACTOR:
        return []
    remedy = f"; teacher_imgsz={own} shows it the images at that size" * (own > imgsz)
    return [
        f"the teacher was trained at {own} px and gets {imgsz} px here: "
        f"its neck maps may be worse than at its own image size{remedy}"
    ]


def val_image_warnings(
    weights: str | Path, recorded: Any, val_images: Iterable[str], model: str = "teacher"
) -> list[str]:
    """Return a warning about a model that was trained on the images that it is measured on.

    Args:
        weights: its checkpoint.
        recorded: the data that the checkpoint records.
        val_images: image files that it is measured on.
        model: what the model is, for the message.
    """
    measured = list(val_images)
    known = count_seen(weights, recorded, measured)
    if not known:
        return []
    return [f"the {model} was trained on {known} of the {len(measured)} val images: its mAP on them is too optimistic"]


def start_warnings(teacher_map50_95: float, start_map50_95: float) -> list[str]:
    """Return a warning about a teacher that is weaker than the student before the student's training."""
    if teacher_map50_95 >= start_map50_95:
        return []
    return [
        f"the teacher is weaker than the student already is: mAP50-95 {teacher_map50_95:.3f} on this val set, "
        f"the student {start_map50_95:.3f} before its first epoch"
    ]


def starts_with_classes(model: Any, pretrained: Any, names: Mapping[int, str]) -> bool:
    """Return whether a student starts from weights that know the classes of the data, so that its mAP means something.

    Args:
        model: Ultralytics' train argument: a checkpoint or a model YAML.
        pretrained: Ultralytics' train argument: another checkpoint, or whether weights are used.
        names: classes of the data.
    """
    start = starting_checkpoint(model, pretrained)
    return start is not None and same_classes(start.names, names)


def starts_from_weights(args) -> bool:
    """Return whether a student starts from weights, of whatever classes.

    Args:
        args: the trainer's arguments.
    """
    return starting_checkpoint(args.model, args.pretrained) is not None


class StartingCheckpoint(NamedTuple):
    """The weights that a student starts from.

    Args:
        file: the checkpoint.
        names: its classes.
        recorded: the data that it records.
    """

    file: str
    names: Mapping[int, str]
    recorded: Any


def starting_checkpoint(model: Any, pretrained: Any) -> StartingCheckpoint | None:
    """Return the weights that a student starts from; None without, or if they cannot be read.

    Args:
        model: Ultralytics' train argument: a checkpoint or a model YAML.
        pretrained: Ultralytics' train argument: another checkpoint, or whether weights are used.
    """
    weights = pretrained if isinstance(pretrained, (str, Path)) else model if pretrained is not False else ""
    if not str(weights).endswith(".pt"):
        return None
    try:
        loaded, checkpoint = load_model(weights)
    except FGDError:  # Ultralytics could read it, but its classes are unknown here
        return None
    return StartingCheckpoint(str(weights), loaded.names, (checkpoint.get("train_args") or {}).get("data"))


def model_cost(model: nn.Module, imgsz: int) -> tuple[int, float]:
    """Return parameters and GFLOPs of a model as it is deployed: fused."""
    fused = deepcopy(model).float().eval().fuse(verbose=False)
    return sum(weight.numel() for weight in fused.parameters()), float(get_flops(fused, imgsz))


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        value.shape == second[name].shape and torch.equal(value.cpu(), second[name].cpu())
        for name, value in first.items()
    )
