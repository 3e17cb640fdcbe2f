"""From what was asked for to the runs that have to be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.utils.torch_utils import select_device

from fgd_yolo.compare.comparability import common_arguments, stated_rate
from fgd_yolo.compare.holdout import hold_out
from fgd_yolo.compare.job import Job
from fgd_yolo.compare.method_specs import Method, work_folder
from fgd_yolo.compare.options import DEMO, Options, data_name
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.config import FGDConfig, Recipe, load_recipe
from fgd_yolo.datasets import demo_data
from fgd_yolo.files import sha256_of_file
from fgd_yolo.workflow.plan import Plan, make_plan
from fgd_yolo.workflow.train_arguments import demo_arguments, ultralytics_defaults
from fgd_yolo.workflow.training_stages import prepare_teacher

ALIKE = {"patience": 0, "plots": False}
"""For all methods, unless said otherwise: nobody stops early, and nobody draws."""


@dataclass(frozen=True)
class Setting:
    """One data set with its teacher, ready for every method.

    Args:
        name: of the data set.
        plan: checked and resolved, as for a distillation.
        teacher: checkpoint that knows the data; None where no method needs one.
    """

    name: str
    plan: Plan
    teacher: Path | None

    @property
    def train(self) -> dict[str, Any]:
        """Train arguments of every method, without the seed."""
        return {**ALIKE, **self.plan.recipe.train}


def settings(options: Options) -> list[Setting]:
    """Check and resolve everything, and train what teachers do not know their data yet.

    Raises:
        UsageError: something is missing, unknown, contradictory or unsupported.
        FGDError: models or data cannot be used.
    """
    plans = [(data_name(data), _plan(options, data)) for data in options.data] if options.methods else []
    ready = []
    for name, plan in plans:
        place = work_folder(options.output, name)
        plan = plan.with_data_copy(place)
        teacher = plan.teacher and prepare_teacher(plan.teacher, plan.dataset, plan.recipe.teacher_train, place)
        ready.append(Setting(name, plan, teacher))
    return ready


def jobs(options: Options, found: Sequence[Setting]) -> list[Job]:
    """Return every run that the options ask for, all methods of a seed before the next seed."""
    return [
        _job(options, setting, method, seed)
        for seed in options.seeds
        for setting in found
        for method in options.methods
    ]


def _plan(options: Options, data: str) -> Plan:
    """Resolve one data set as a distillation does."""
    teacher, train, teacher_train = options.teacher_of(data), dict(options.train), None
    yaml: str | None = None if data == DEMO else data
    if options.hold_out:
        if yaml is None:
            device = select_device(train.get("device") or "", verbose=False)
            train, teacher_train = demo_arguments(train, device.type)
        folder = work_folder(options.output.absolute(), data_name(data), "held-out")
        yaml = str(hold_out(yaml or demo_data(), options.hold_out, folder, allow_download=options.allow_download))
    config = FGDConfig() if teacher else load_recipe("plain").fgd
    recipe = Recipe(teacher=teacher, student=options.student, data=yaml, train=train, fgd=config)
    return make_plan(recipe.override(teacher_train=teacher_train), allow_download=options.allow_download)


def _job(options: Options, setting: Setting, method: Method, seed: int) -> Job:
    plan, train = setting.plan, setting.train
    arguments = {**ultralytics_defaults(), **train}
    teacher = setting.teacher if method.needs_teacher else None
    planned = Run(
        data=setting.name,
        method=method.label,
        seed=seed,
        **{key: arguments[key] for key in ("epochs", "batch", "imgsz")},
        **stated_rate(arguments),
        arguments=common_arguments(train),
        student=plan.student.name,
        student_key=plan.student.digest[:16],
        data_key=plan.dataset.scan.digest[:16],
        train_images=plan.dataset.scan.train_images,
        val_images=plan.dataset.scan.val_images,
        hold_out=options.hold_out,
        teacher=teacher and teacher.name,
        teacher_key=teacher and content_key(teacher),
        options=method.options,
        device_type=plan.device_type,
    )
    folder = work_folder(options.output.absolute(), setting.name, method.label, str(seed))
    return Job(
        folder=folder,
        data=str(plan.dataset.file),
        student=plan.student.file,
        teacher=teacher and str(teacher),
        method=method,
        train={**train, "seed": seed},
        planned=planned,
    )


def content_key(file: Path) -> str:
    """Return a word for the content of a file."""
    return sha256_of_file(file)[:16]
