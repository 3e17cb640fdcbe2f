"""Include runs that were trained elsewhere: by `distill`, by `FGDTrainer`, or by stock Ultralytics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.compare.comparability import common_arguments, known_optimizer
from fgd_yolo.compare.jobs import Job, check_unseen, shortened_digests, teacher_columns
from fgd_yolo.compare.options import ULTRALYTICS, Method, data_name, method_of, parse_method, work_folder
from fgd_yolo.compare.results import Run
from fgd_yolo.config import PLAIN, FGDConfig
from fgd_yolo.datasets import DATA_FOLDER, Dataset, run_dataset, scan_dataset
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.task_table import TASKS
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.checkpoints import SIDE, read_side_file, resumable
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import (
    DATA,
    RECIPE,
    STUDENT,
    Input,
    data_input,
    input_differences,
    read_inputs,
    read_recipe,
    teacher_input,
)


def finished_run_jobs(folders: Sequence[Path], output: Path) -> list[Job]:
    """Return a job for each finished run that measures its last epoch.

    Args:
        folders: run folders of `distill`, or training folders with `args.yaml` and `weights/last.pt`.
        output: folder of the comparison.

    Raises:
        UsageError: a folder is not a run, or the run is not finished.
        FGDError: the data of a run cannot be used, or its inputs have changed.
    """
    return [_job(folder.absolute(), output.absolute()) for folder in folders]


def _job(folder: Path, output: Path) -> Job:
    training = folder / "student" if (folder / RECIPE).is_file() else folder
    for file in (training / "args.yaml", training / "weights" / "last.pt"):
        if not file.is_file():
            raise UsageError(f"{folder} is not a run: {file} does not exist")
    if resumable(training / "weights"):
        raise UsageError(f"{folder} is not finished: resume it first, or leave it out")
    arguments = _arguments(training / "args.yaml")
    train = {
        key: value for key, value in arguments.items() if key in ultralytics_defaults() and key not in {"cfg", "resume"}
    }
    method, student, teachers, teacher_digest = _origin(folder, arguments)
    dataset = scan_dataset(str(run_dataset(folder) or arguments["data"]), train, recorded=True)
    dataset.check_true_labels()
    _check_inputs(folder, dataset, student, teachers)
    check_unseen(student, train, dataset)
    planned = Run(
        data=data_name(str(dataset.source)),
        method=method.label,
        seed=arguments["seed"],
        measured=TASKS[arguments["task"]].measured,
        **{key: arguments[key] for key in ("epochs", "batch", "imgsz")},
        **known_optimizer(arguments),
        arguments=common_arguments(train),
        student=Path(student).stem if student else None,
        student_digest=_student_digest(student),
        data_digest=dataset.scan.digest[:16],
        train_images=dataset.scan.train_images,
        val_images=dataset.scan.val_images,
        val_fraction=0.0,
        val_digest=dataset.scan.val_digest[:16],
        teacher=",".join(Path(teacher).name for teacher in teachers) or None,
        teacher_digest=teacher_digest,
        options=method.options,
    )
    job_folder = work_folder(output, "finished", "-".join(map(str, planned.key)))
    return Job(
        folder=job_folder,
        run_folder=training,
        data=str(dataset.copy_to(job_folder / DATA_FOLDER).file),
        student=None,
        teachers=teachers if all(Path(teacher).is_file() for teacher in teachers) else [],
        method=method,
        train=train,
        planned=planned,
    )


def _arguments(path: Path) -> dict[str, Any]:
    """Read the train arguments that Ultralytics wrote to a run folder.

    Raises:
        FGDError: the file is damaged.
    """
    try:
        arguments = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {**ultralytics_defaults(), **arguments}
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise FGDError(f"{path} is damaged ({one_line(error)[:160]}): leave this run out") from error


def _check_inputs(folder: Path, dataset: Dataset, student: str | None, teachers: Sequence[str]) -> None:
    """Check that models and data of a run of distill have not changed since it was started.

    Raises:
        FGDError: an input has changed.
    """
    current = {DATA: data_input(dataset)}
    models = [(STUDENT, student), *((teacher_input(place), file) for place, file in enumerate(teachers, start=1))]
    for name, model in models:
        if model is not None and Path(model).is_file():  # a missing model cannot be checked
            current[name] = Input(resolve(model, name.partition(" ")[0]).digest, model)
    changed = input_differences(read_inputs(folder) or {}, current)
    if changed:
        raise FGDError(f"{folder} was started with {changed}: put back the originals, or leave this run out")


def _origin(folder: Path, arguments: Mapping[str, Any]) -> tuple[Method, str | None, Sequence[str], str | None]:
    """Return method, student, teachers and the teachers' digest of a run, as far as they are recorded."""
    if (folder / RECIPE).is_file():
        recipe = read_recipe(folder)
        teachers = recipe.teachers if recipe.active else ()
        return method_of(recipe.config), recipe.student, teachers, _teacher_digest(teachers)
    student = None if arguments.get("resume") else str(arguments["model"])  # a resumed run names its own checkpoint
    side_file = folder / "weights" / SIDE
    if side_file.is_file():  # FGDTrainer, used without the command
        side = read_side_file(side_file)
        return (
            method_of(FGDConfig.from_dict(side["options"])),
            student,
            (),
            shortened_digests(side["teacher"].split(",")),
        )
    teacher = arguments.get("distill_model")
    if teacher is None:
        return parse_method(PLAIN), student, (), None
    dis = arguments["dis"]
    method = parse_method(ULTRALYTICS if dis == ultralytics_defaults()["dis"] else f"{ULTRALYTICS}:dis={dis:g}")
    return method, student, (str(teacher),), _teacher_digest([teacher])


def _teacher_digest(teachers: Sequence[str]) -> str | None:
    present = all(Path(teacher).is_file() for teacher in teachers)
    return teacher_columns(teachers)["teacher_digest"] if present else None


def _student_digest(student: str | None) -> str | None:
    if student is None:
        return None
    try:
        return resolve(student, "student").digest[:16]
    except FGDError:  # the digest of a missing model is unknown
        return None
