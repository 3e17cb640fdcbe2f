"""Estimate how long the stages of a run take, before the first of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import parse_device

from fgd_yolo.config import PLAIN, FGDConfig
from fgd_yolo.console import format_duration
from fgd_yolo.files import partial_folder
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.checkpoints import BEST, is_finished
from fgd_yolo.training.step_times import StepTimes, time_steps
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.ultralytics import quiet_ultralytics
from fgd_yolo.workflow.plan import Plan
from fgd_yolo.workflow.run_folder import STUDENT_STAGE, teacher_stage
from fgd_yolo.workflow.training_stages import cached_teacher

_FEW_BATCHES = 50  # a try, for which an estimate would take too long itself
_FORWARD_PASSES = 10  # of one image, which the closing table times
_EXPORT_S = 1.2
"""Seconds of an export of yolov8n at 160 px on one core (AMD Zen 5, 2.6 GHz); its size hardly changes them."""


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of each stage of a run; 0 if nothing is left to do.

    Args:
        teacher: fine-tuning of all teachers that need it.
        student: training of the student, with the checks before it.
        measure: validation of teachers and student.
        export: export of the student and its comparison.
    """

    teacher: float
    student: float
    measure: float
    export: float

    def __str__(self) -> str:
        stages = {"teacher": self.teacher, "student": self.student, "measuring": self.measure, "export": self.export}
        parts = [f"{name} {format_duration(seconds)}" for name, seconds in stages.items() if seconds]
        return f"{format_duration(sum(stages.values()))}: {', '.join(parts)}"


def estimate_run(plan: Plan, run_dir: Path) -> StageSeconds | None:
    """Estimate the remaining stages of a run.

    Returns None if it cannot be estimated, for instance since the batch does not fit into memory: the training itself
    reports a problem, or reduces the batch. It also does for a run of few batches, a try, and for
    one of several processes.

    Args:
        plan: plan of the run, with its data in the run folder.
        run_dir: the run folder.
    """
    if RANK != -1 or not epochs_left(run_dir / STUDENT_STAGE, plan.recipe.train) or _is_short(plan):
        return None
    with partial_folder(run_dir / "estimate") as folder, quiet_ultralytics(logging.CRITICAL):
        try:
            return _estimate(plan, run_dir, folder)
        except Exception:
            return None


def _is_short(plan: Plan) -> bool:
    trainings = [plan.recipe.train, *([plan.recipe.teacher_train] if any(plan.fine_tuned) else [])]
    return max(_batches(arguments, plan.epoch_images) for arguments in trainings) < _FEW_BATCHES


def _estimate(plan: Plan, run_dir: Path, folder: Path) -> StageSeconds:
    files, teacher_s = [], 0.0
    for place, (teacher, fine_tuned) in enumerate(zip(plan.teachers, plan.fine_tuned, strict=True), start=1):
        train = {**(plan.recipe.teacher_train or {}), "task": teacher.task.name}
        cached = cached_teacher(teacher, plan.dataset, train) if fine_tuned else Path(teacher.file)
        if not cached.is_file():
            stage = teacher_stage(place)
            plain = FGDTrainer.with_teacher(None, FGDConfig(method=PLAIN))
            times, cached = _time(plain, plan, teacher.file, train, folder / stage)
            teacher_s += training_seconds(times, train, epochs_left(run_dir / stage, train))
        files.append(cached)
    train = plan.recipe.train
    unlabeled = None if plan.unlabeled is None else plan.unlabeled.write_list(run_dir)
    distilling = FGDTrainer.with_teacher(files, plan.recipe.config, unlabeled=unlabeled)
    times, _ = _time(distilling, plan, plan.student.file, train, folder / STUDENT_STAGE)
    left = epochs_left(run_dir / STUDENT_STAGE, train)
    return StageSeconds(teacher_s, training_seconds(times, train, left), measuring_seconds(times), _EXPORT_S)


def _time(trainer_class: type[FGDTrainer], plan: Plan, model: str, train: Mapping[str, Any], folder: Path):
    arguments = {**ultralytics_defaults(), **train}
    first, *others = parse_device(arguments["device"] if plan.device is None else plan.device).split(",")
    if others:  # each has its part of the batch
        train = {**train, "batch": max(arguments["batch"] // (1 + len(others)), 1)}
    place = {"save_dir": str(folder), "data": str(plan.dataset.file), "model": model, "device": first}
    return time_steps(trainer_class, {**train, **place})


def training_seconds(times: StepTimes, train: Mapping[str, Any], epochs: int) -> float:
    """Return what a training takes, with the validation of its teachers before it; at most, if it may stop early.

    Args:
        times: times of its steps.
        train: its train arguments.
        epochs: epochs that are left, 0 for a finished training.
    """
    arguments = {**ultralytics_defaults(), **train}
    if not epochs:
        return 0.0
    if arguments["time"]:
        return arguments["time"] * 3600
    updates = ceil(times.batches / times.accumulate)
    validations = (epochs if arguments["val"] else 1) + 1  # Ultralytics validates the best checkpoint at the end
    return (
        times.setup
        + times.val_images * times.teacher_val_image
        + epochs * (times.batches * times.batch + updates * times.update + times.save)
        + validations * times.val_images * times.val_image
    )


def measuring_seconds(times: StepTimes) -> float:
    """Return what the validation of teachers and student, and the timing of single images, take."""
    return (times.val_images + _FORWARD_PASSES) * (times.val_image + times.teacher_val_image)


def epochs_left(folder: Path, train: Mapping[str, Any]) -> int:
    """Return how many epochs of a training are left.

    Args:
        folder: Ultralytics' run folder, which may not exist yet.
        train: train arguments.
    """
    if is_finished(folder / "weights" / BEST):
        return 0
    try:
        rows = len((folder / "results.csv").read_text(encoding="utf-8").splitlines())
    except OSError:
        rows = 1
    return {**ultralytics_defaults(), **train}["epochs"] - (rows - 1)


def _batches(train: Mapping[str, Any], images: int) -> int:
    arguments = {**ultralytics_defaults(), **train}
    return arguments["epochs"] * ceil(images / max(arguments["batch"], 1))
