"""Runs that others have finished: a folder of `tools/distill.py`, of `FGDTrainer`, or of stock Ultralytics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.compare.comparability import common_arguments, stated_rate
from fgd_yolo.compare.job import Job
from fgd_yolo.compare.job_plan import content_key
from fgd_yolo.compare.method_specs import FGD, HOST, Method, parse_method, work_folder
from fgd_yolo.compare.options import data_name
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.config import FGDConfig, recipe_names
from fgd_yolo.datasets import DATA_FOLDER, Dataset, run_dataset, scan_dataset
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.training.checkpoints import SIDE, read_side_file, resumable
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.run_folder import (
    DATA,
    RECIPE,
    STUDENT,
    TEACHER,
    Input,
    data_input,
    input_differences,
    read_inputs,
    read_recipe,
)
from fgd_yolo.workflow.train_arguments import ultralytics_defaults


def taken_jobs(folders: Sequence[Path], output: Path) -> list[Job]:
    """Return a job for each finished run, which measures its last epoch.

    Args:
        folders: run folders of `tools/distill.py`, or trainings with `args.yaml` and `weights/last.pt`.
        output: folder of the comparison.

    Raises:
        UsageError: a folder holds no finished run.
        FGDError: its data cannot be used.
    """
    return [_job(folder.absolute(), output.absolute()) for folder in folders]


def _job(folder: Path, output: Path) -> Job:
    training = folder / "student" if (folder / RECIPE).is_file() else folder
    for file in (training / "args.yaml", training / "weights" / "last.pt"):
        if not file.is_file():
            raise UsageError(f"{folder} is no run: {file} does not exist")
    if resumable(training / "weights"):
        raise UsageError(f"{folder} is not finished: continue it first, or leave it out")
    arguments = _arguments(training / "args.yaml")
    train = {
        key: value for key, value in arguments.items() if key in ultralytics_defaults() and key not in {"cfg", "resume"}
    }
    method, student, teacher, teacher_key = _origin(folder, arguments)
    dataset = scan_dataset(str(run_dataset(folder) or arguments["data"]), train, recorded=True)
    _check_keys(folder, dataset, student, teacher)
    planned = Run(
        data=data_name(str(dataset.source)),
        method=method.label,
        seed=arguments["seed"],
        **{key: arguments[key] for key in ("epochs", "batch", "imgsz")},
        **stated_rate(arguments),
        arguments=common_arguments(train),
        student=Path(student).stem if student else None,
        student_key=_student_key(student),
        data_key=dataset.scan.digest[:16],
        train_images=dataset.scan.train_images,
        val_images=dataset.scan.val_images,
        hold_out=0.0,
        teacher=Path(teacher).name if teacher else None,
        teacher_key=teacher_key,
        options=method.options,
    )
    place = work_folder(output, "taken", "-".join(map(str, planned.key)))
    return Job(
        folder=training,
        data=str(dataset.copy_to(place / DATA_FOLDER).file),
        student=None,
        teacher=teacher if teacher and Path(teacher).is_file() else None,
        method=method,
        train=train,
        planned=planned,
        measured=place,
    )


def _arguments(path: Path) -> dict[str, Any]:
    """Read the train arguments that Ultralytics wrote into a run folder.

    Raises:
        FGDError: the file is damaged.
    """
    try:
        arguments = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {**ultralytics_defaults(), **arguments}
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise FGDError(f"{path} is damaged ({one_line(error)[:160]}): leave this run out") from error


def _check_keys(folder: Path, dataset: Dataset, student: str | None, teacher: str | None) -> None:
    """Stop where a run of distill began with other models or data than are there now.

    Raises:
        FGDError: names what differs.
    """
    found = {DATA: data_input(dataset)}
    for name, model in ((STUDENT, student), (TEACHER, teacher)):
        if model is not None and Path(model).is_file():  # gone since: then nobody can tell
            found[name] = Input(resolve(model, name).digest, model)
    changed = input_differences(read_inputs(folder) or {}, found)
    if changed:
        raise FGDError(f"{folder} was started with {changed}: put back the originals, or leave this run out")


def _origin(folder: Path, arguments: Mapping[str, Any]) -> tuple[Method, str | None, str | None, str | None]:
    """How a run was trained, its student, its teacher and that one's content, as far as it tells."""
    if (folder / RECIPE).is_file():
        recipe = read_recipe(folder)
        teacher = recipe.teacher if recipe.fgd.active else None
        return method_of(recipe.fgd), recipe.student, teacher, _content(teacher)
    student = None if arguments.get("resume") else str(arguments["model"])  # a resumed run names its own checkpoint
    side_file = folder / "weights" / SIDE
    if side_file.is_file():  # of FGDTrainer, without the command around it
        side = read_side_file(side_file)
        return method_of(FGDConfig.from_dict(side["options"])), student, None, side["teacher"][:16]
    teacher = arguments.get("distill_model")
    if teacher is None:
        return parse_method("plain"), student, None, None
    dis = arguments["dis"]
    method = parse_method(HOST if dis == ultralytics_defaults()["dis"] else f"{HOST}:dis={dis:g}")
    return method, student, str(teacher), _content(teacher)


def _content(teacher: str | None) -> str | None:
    return content_key(Path(teacher)) if teacher and Path(teacher).is_file() else None


def method_of(config: FGDConfig) -> Method:
    """Return the method that a configuration is, as it would be spelled."""
    if not config.active:
        return parse_method("plain")
    known = {name: asdict(parse_method(name).config) for name in (FGD, *recipe_names())}
    options = asdict(config)
    same = next((name for name, values in known.items() if values == options), None)
    base = same or ("fitnet" if config.method == "fitnet" else FGD)
    changes = ",".join(f"{key}={value}" for key, value in options.items() if value != known[base][key])
    return parse_method(f"{base}:{changes}" if changes else base)


def _student_key(student: str | None) -> str | None:
    if student is None:
        return None
    try:
        return resolve(student, "student").digest[:16]
    except FGDError:  # gone since: then nobody can tell
        return None
