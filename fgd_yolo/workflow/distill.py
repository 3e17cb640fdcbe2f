"""A complete run: from two model names to a distilled student, measured beside its teacher and exported.

`distill` plans a run and carries it out; with `resume` it continues a run folder. A run has five stages:

    1  plan      resolve the models, scan the data set, check the options
    2  teacher   fine-tune the teacher if it does not know the classes of the data and this is asked for
    3  student   check that the models can be distilled (preflight, in the trainer), then train
    4  measure   validate teacher and student on the same images
    5  export    write the student as ONNX and compare it with PyTorch

A resumed run continues each stage from the files that it finds. The closing table is printed at the end.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.console import display_path, print_status, resume_command
from fgd_yolo.datasets import has_images, run_dataset, same_images
from fgd_yolo.distributed.exchange import compare_digests
from fgd_yolo.distributed.heartbeat import advise
from fgd_yolo.errors import FGDError, UsageError, error_message, one_line
from fgd_yolo.export.convert import check_onnx
from fgd_yolo.files import remove_leftovers
from fgd_yolo.locking import FolderLock
from fgd_yolo.text import printable
from fgd_yolo.train_arguments import refuse_unsupported
from fgd_yolo.ultralytics import load_model
from fgd_yolo.ultralytics_log import readable_log
from fgd_yolo.workflow.announcements import announce_end
from fgd_yolo.workflow.closing_table import format_table
from fgd_yolo.workflow.conclusion import conclude, next_commands
from fgd_yolo.workflow.elastic_restart import interrupted_run, record_launch
from fgd_yolo.workflow.followers import follow, joined_ranks
from fgd_yolo.workflow.plan import Plan, as_recipe, make_plan
from fgd_yolo.workflow.rank_facts import rank_facts
from fgd_yolo.workflow.run_folder import (
    DATA,
    FRAMES,
    RECIPE,
    RESULT,
    RUNS_FOLDER,
    STUDENT,
    Input,
    check_inputs,
    check_places,
    checkpoint_inputs,
    data_input,
    is_run,
    new_run_folder,
    read_recipe,
    read_result,
    record_inputs,
    save_recipe,
    teacher_input,
)
from fgd_yolo.workflow.stages import listed_files, run_stages, with_twin

_LINE = 100  # columns of the closing text


@dataclass(frozen=True)
class DistillResult:
    """The result of a run.

    Args:
        weights: the student, a plain Ultralytics checkpoint.
        onnx: the student as ONNX, compared with the checkpoint on real images.
        metrics: values of the closing table, as in `result.json`.
        run_dir: the run folder.
    """

    weights: Path
    onnx: Path
    metrics: dict[str, Any]
    run_dir: Path


@readable_log()
def distill(
    teacher: str | Path | Sequence[str | Path] | None = None,
    student: str | Path | None = None,
    data: str | Path | None = None,
    *,
    unlabeled: str | Path | Sequence[str | Path] | None = None,
    every: str | None = None,
    teacher_classes: str | Sequence[str] | None = None,
    recipe: FGDConfig | str | Path | None = None,
    teacher_epochs: int | str | None = None,
    resume: str | Path | None = None,
    allow_download: bool = False,
    **train_args: Any,
) -> DistillResult | None:
    """Distil a student, measure it beside its teacher, and export it to ONNX.

    The teacher's classes are matched to those of the data by name. A teacher that does not know all of them may be
    fine-tuned on the data first, once. The run folder is `runs/distill/NAME` in the current folder; `project=` and
    `name=` change it.

    Args:
        teacher: model name or file, such as `yolov8l`, or a list of them; None if `recipe` names it or has all weights
            0.
        student: model name or file, such as `yolov8n`; None if `recipe` names it.
        data: Ultralytics data YAML; None is the built-in demo data, unless `recipe` names one or there are unlabelled
            frames.
        unlabeled: unlabelled frames, which the teachers label in the training: folders, list files, images, videos,
            and collections of `fgd-yolo stream`. Beside `data`, or alone.
        every: time between two frames of a video among them, such as "500ms"; None is the recipe's, 1s by default.
        teacher_classes: without `data`, the classes of the teachers that the student learns, by name; None for all.
        recipe: a shipped recipe (`plain`, `paper-yolo`, ...), a YAML file, a `Recipe` or an `FGDConfig`.
        teacher_epochs: epochs of the fine-tuning of a teacher that does not know all classes of the data; 0 to use it
            as it is, "auto" to decide by the classes that it knows. None is the recipe's, which is "auto" by default.
        resume: run folder to resume; no other option but `device` may then be given.
        allow_download: run the download script of the data YAML if images are missing, or fetch data from an
            address; either is printed first. Ultralytics' own data sets need no permission.
        train_args: Ultralytics train arguments.

    Under `torchrun` every process calls this, on one machine or several (docs/guides/cluster.md).

    Returns:
        Files and numbers of the run; None on the processes of `torchrun` other than rank 0, which only train.

    Raises:
        UsageError: an option is missing, unknown, contradictory or not supported.
        FGDError: the run cannot continue; the message says what to do.
        KeyboardInterrupt: stopped by the user; the message is the command that resumes the run.
    """
    options = {"teacher": teacher, "student": student, "data": data, "teacher_epochs": teacher_epochs}
    options |= {"unlabeled": unlabeled, "every": every, "teacher_classes": teacher_classes}
    if resume is not None:
        options |= {"recipe": recipe, "allow_download": allow_download or None, **train_args}
        return _resume_on_all_ranks(resume, options)
    if unlabeled is not None and not unlabeled:
        raise UsageError("unlabeled is empty: name frames, or leave it out")
    refuse_unsupported({"data": data})
    recipe = as_recipe(recipe).override(train=train_args, **options)
    start = partial(_start, recipe, allow_download)
    return _on_all_ranks(recipe, start, recipe.train.get("device"), allow_download=allow_download)


def _resume_on_all_ranks(resume: str | Path, options: dict[str, Any]) -> DistillResult | None:
    if str(resume) == "True":  # as Ultralytics resumes its last run
        raise UsageError(f"resume takes the folder of the run to resume, such as --resume {RUNS_FOLDER}/yolov8n")
    device = options.pop("device", None)
    given = [key for key, value in options.items() if value is not None]
    if given:
        raise UsageError(f"--resume uses the options of the run: leave out {', '.join(given)}")
    return _on_all_ranks(None, lambda: _resume(Path(resume).absolute(), device), device)


def _on_all_ranks(
    recipe: Recipe | None, run: Callable[[], DistillResult], device: Any, *, allow_download: bool = False
) -> DistillResult | None:
    """Carry out a run on rank 0, and follow it on the others; without torchrun, only carry it out.

    Args:
        recipe: options of a new run; None to resume one.
        run: carries it out.
        device: train argument `device` of this rank.
        allow_download: as for `distill`.
    """
    with joined_ranks(device) as world:
        compare_digests(rank_facts(recipe) if world.several else {})
        if not world.first:
            follow(recipe, allow_download=allow_download)
            return None
        result = run()
        announce_end()
        return result


def _start(recipe: Recipe, allow_download: bool) -> DistillResult:
    interrupted = interrupted_run(Path(recipe.train.get("project") or RUNS_FOLDER).absolute(), recipe)
    if interrupted is not None:
        print_status(f"torchrun has restarted this run: {display_path(interrupted)}")
        return _resume(interrupted, None)
    print_status("Data and models", stage=1)
    plan = make_plan(recipe, allow_download=allow_download)
    run_dir = new_run_folder(plan.project, plan.name, plan.student.name)
    print_status(f"run folder: {display_path(run_dir)}")
    with FolderLock(run_dir) as lock:
        record_launch(run_dir, recipe)
        return _carry_out(plan, lock, fresh=True)


def _resume(run_dir: Path, device: Any) -> DistillResult:
    if not is_run(run_dir):
        read_recipe(run_dir)  # raises the error, before anything is written there
    with FolderLock(run_dir) as lock:
        remove_leftovers(run_dir, recursive=True)
        check_places(run_dir)
        return _carry_out(_recorded_plan(run_dir, device), lock, fresh=False)


def _recorded_plan(run_dir: Path, device: Any) -> Plan:
    """Rebuild the plan of an existing run from its options; models and data must be those that it was started with.

    Raises:
        FGDError: its options are damaged, or models or data are missing or have changed.
    """
    recipe, file = read_recipe(run_dir), display_path(run_dir / RECIPE)
    data, copy = recipe.data, run_dataset(run_dir)
    # The copy names the original images even if the YAML or its lists have changed, unless the images were moved.
    if data is not None and copy is not None and (has_images(copy) or not has_images(data)):
        recipe = recipe.replace(data=str(copy))
    paths = [("teacher", path) for path in recipe.teachers] + [("student", recipe.student), ("data", recipe.data)]
    paths += [("unlabeled", path) for path in recipe.unlabeled]
    for key, path in paths:
        if path is not None and Path(path).is_absolute() and not Path(path).exists():
            raise FGDError(f"{key} {path} does not exist: put it back, or write its new path into {file}")
    print_status("Data and models", stage=1)
    try:
        plan = make_plan(recipe, device, recorded=True)
    except UsageError as error:
        if device is not None:
            raise
        raise FGDError(f"{file} cannot be used ({one_line(error)}): repair it, or start a new run") from error
    check_inputs(run_dir, _inputs(plan))
    if data is not None and copy is not None and same_images(data, copy):
        plan = replace(plan, recipe=plan.recipe.replace(data=data))  # for the suggested commands
    return plan


def _inputs(plan: Plan) -> dict[str, Input]:
    """Return the inputs of a run before its training: models and data set."""
    teachers = {teacher_input(place): teacher for place, teacher in enumerate(plan.teachers, start=1)}
    models = {STUDENT: plan.student, **teachers}
    inputs = {name: Input(model.digest, model.file) for name, model in models.items()}
    frames = {} if plan.unlabeled is None else {FRAMES: plan.unlabeled.input}
    return {**inputs, DATA: data_input(plan.dataset), **frames}


def _carry_out(plan: Plan, lock: FolderLock, fresh: bool) -> DistillResult:
    """Run the remaining stages of a plan; a new run that fails before its first checkpoint leaves no folder."""
    run_dir = lock.folder
    resume_with = f"resume with: {resume_command(run_dir)}"
    try:
        if fresh:
            save_recipe(run_dir, plan.recipe)
            record_inputs(run_dir, _inputs(plan))
        advise(f"; {resume_with}")
        result = None if fresh else _finished_result(run_dir)
        if result is not None:
            print_status(f"{display_path(run_dir)} is finished already: nothing is left to do")
        else:
            if not fresh:
                print_status(f"resuming {display_path(run_dir)}")
            result = run_stages(plan.with_data_copy(run_dir), lock)
        return _close(run_dir, result)
    except KeyboardInterrupt:
        lock.check()
        raise KeyboardInterrupt(f"stopped; {resume_with}") from None
    except Exception as error:
        lock.check()
        kind = type(error) if isinstance(error, FGDError) else FGDError
        trained = any(run_dir.glob("*/weights/*.pt"))
        if fresh and not trained:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise kind(error_message(error)) from error
        raise kind(f"{error_message(error)} ({'checkpoints are kept; ' if trained else ''}{resume_with})") from error


def _finished_result(run_dir: Path) -> dict[str, Any] | None:
    """Return the closing table of a finished run with intact files; None if a stage must run again."""
    result = read_result(run_dir)
    if result is None:
        if (run_dir / RESULT).exists():
            print_status(f"!! {display_path(run_dir / RESULT)} is damaged: teacher and student are measured again")
        return None
    weights, onnx = (Path(result["files"].get(key) or "") for key in ("weights", "onnx"))
    if not weights.is_file() or not onnx.is_file():
        return None
    try:
        load_model(weights)
        check_onnx(onnx)
    except Exception as error:  # invalid ONNX raises errors of the parser
        print_status(f"!! {display_path(weights)} or {onnx.name} is damaged and is written again ({one_line(error)})")
        return None
    # A teacher may be missing from the cache: the table remains valid.
    check_inputs(run_dir, checkpoint_inputs(result["files"]["teachers"], present=True))
    return result


def _close(run_dir: Path, result: dict[str, Any]) -> DistillResult:
    """Print the closing table, what it means, the files, and what to run next."""
    result = with_twin(run_dir, result)
    files = [f"{name:9}{printable(display_path(Path(path)))}" for name, path in listed_files(result)]
    meaning = textwrap.fill(conclude(result), _LINE, break_long_words=False, break_on_hyphens=False)
    print(f"\n{format_table(result)}\n\n{meaning}\n\nfiles", *files, sep="\n  ")
    steps = [line for purpose, command in next_commands(result) for line in (f"# {purpose}", command)]
    if steps:
        print("\nnext", *map(printable, steps), sep="\n  ")
    sys.stdout.flush()
    return DistillResult(Path(result["files"]["weights"]), Path(result["files"]["onnx"]), result, run_dir)
