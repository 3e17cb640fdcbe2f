"""The whole job: from two model names to a distilled student, measured beside its teacher and exported."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.console import display_path, distill_command, print_status
from fgd_yolo.datasets import DATA_FOLDER, has_images, run_dataset, scan_dataset
from fgd_yolo.errors import FGDError, UsageError, one_line, whole_line
from fgd_yolo.export import export_onnx
from fgd_yolo.export.convert import validate
from fgd_yolo.files import remove_leftovers
from fgd_yolo.locking import FolderLock
from fgd_yolo.text import printable
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.ultralytics import load_detector
from fgd_yolo.workflow import closing_table as report
from fgd_yolo.workflow import measuring as finish
from fgd_yolo.workflow.plan import Plan, make_plan
from fgd_yolo.workflow.run_folder import (
    CHECKPOINT,
    DATA,
    RECIPE,
    RESULT,
    STUDENT,
    TEACHER,
    Input,
    check_inputs,
    check_places,
    data_input,
    file_input,
    is_run,
    new_run_folder,
    read_inputs,
    read_recipe,
    read_result,
    record_inputs,
    save_recipe,
    save_result,
)
from fgd_yolo.workflow.train_arguments import as_recipe, ultralytics_defaults
from fgd_yolo.workflow.training_stages import prepare_teacher, train_stage


@dataclass(frozen=True)
class DistillResult:
    """What a run leaves.

    Args:
        weights: the student, a plain Ultralytics checkpoint.
        onnx: the same as ONNX, compared with it on real images.
        metrics: the closing table as plain values, as in `result.json`.
        run_dir: the run folder.
    """

    weights: Path
    onnx: Path
    metrics: dict[str, Any]
    run_dir: Path


def distill(
    teacher: str | Path | None = None,
    student: str | Path | None = None,
    data: str | Path | None = None,
    *,
    config: FGDConfig | Recipe | str | Path | None = None,
    teacher_epochs: int | None = None,
    resume: str | Path | None = None,
    allow_download: bool = False,
    **train_args: Any,
) -> DistillResult:
    """Distil a student, measure it beside its teacher, and export it.

    A teacher that does not know the classes of the data is fine-tuned on it first, once. The run folder is
    `runs/distill/NAME` under the current folder; `project=` and `name=` change it.

    Args:
        teacher: model name or file, such as `yolov8l`; None where `config` names it or switches FGD off.
        student: model name or file, such as `yolov8n`.
        data: Ultralytics dataset YAML; None is the built-in demo data.
        config: a shipped recipe (`plain`, `fitnet`, ...), a YAML file, a `Recipe` or an `FGDConfig`.
        teacher_epochs: of the teacher's fine-tuning; None is as many as the student's, 0 forbids it.
        resume: a run folder to go on with; nothing else but `device` may then be given.
        allow_download: run the download script of the data YAML where its images are missing, or fetch data from an
            address; either is printed first. Ultralytics' own data sets need no permission.
        train_args: Ultralytics train arguments.

    Returns:
        The files and numbers of the run.

    Raises:
        UsageError: something unknown, contradictory or unsupported was asked for.
        FGDError: the run cannot go on; the message says what to do.
        KeyboardInterrupt: stopped by the user; the message is the command that goes on.
    """
    if resume is not None:
        others = {"teacher": teacher, "student": student, "data": data, "config": config}
        others |= {"teacher_epochs": teacher_epochs, "allow_download": allow_download or None, **train_args}
        device = others.pop("device", None)
        said = [key for key, value in others.items() if value is not None]
        return _resume(Path(resume).absolute(), said, device)
    recipe = as_recipe(config).override(
        train=train_args,
        teacher=None if teacher is None else str(teacher),
        student=None if student is None else str(student),
        data=str(data) if isinstance(data, Path) else data,
        teacher_epochs=teacher_epochs,
    )
    plan = _planned(recipe, allow_download=allow_download)
    run_dir = new_run_folder(plan.project, plan.name, plan.student.name)
    print_status(f"run folder: {display_path(run_dir)}")
    with FolderLock(run_dir) as lock:
        return _carry_out(plan, lock, fresh=True)


def _resume(run_dir: Path, said: list[str], device: Any) -> DistillResult:
    if said:
        raise UsageError(f"--resume goes on with the options of the run: leave out {', '.join(said)}")
    if not is_run(run_dir):
        read_recipe(run_dir)  # which says so, before anything is written there
    with FolderLock(run_dir) as lock:
        remove_leftovers(run_dir, recursive=True)
        check_places(run_dir)
        plan = _plan_of(run_dir, device)
        return _carry_out(plan, lock, fresh=False)


def _plan_of(run_dir: Path, device: Any) -> Plan:
    """Plan a run again, with its own options and the models and data that it began with.

    Raises:
        FGDError: its options are damaged, or models or data are gone or not the same any more.
    """
    recipe, file = read_recipe(run_dir), display_path(run_dir / RECIPE)
    kept = run_dataset(run_dir)
    # The copy names the same images, whatever has become of the YAML and its lists; unless they have moved since.
    if recipe.data is not None and kept is not None and (has_images(kept) or not has_images(recipe.data)):
        recipe = replace(recipe, data=str(kept))
    for key in ("teacher", "student", "data"):
        path = getattr(recipe, key)
        if path is not None and Path(path).is_absolute() and not Path(path).exists():
            raise FGDError(f"{key} {path} does not exist: put it back, or write its new place into {file}")
    try:
        plan = _planned(recipe, device, recorded=True)
    except UsageError as error:
        if device is not None:
            raise
        raise FGDError(f"{file} cannot be used ({one_line(error)}): repair it, or start a new run") from error
    check_inputs(run_dir, _keys(plan))
    return plan


def _keys(plan: Plan) -> dict[str, Input]:
    """Return keys of what a run is planned with."""
    keys = {STUDENT: Input(plan.student.digest, plan.student.file), DATA: data_input(plan.dataset)}
    return keys if plan.teacher is None else {**keys, TEACHER: Input(plan.teacher.digest, plan.teacher.file)}


def _finished(run_dir: Path) -> dict[str, Any] | None:
    """Return the closing table of a run whose files are all there and whole, or None where something is left to do."""
    result = read_result(run_dir)
    if result is None:
        if (run_dir / RESULT).exists():
            print_status(f"!! {display_path(run_dir / RESULT)} is damaged: teacher and student are measured again")
        return None
    weights, onnx = (Path(result["files"].get(key) or "") for key in ("weights", "onnx"))
    if not weights.is_file() or not onnx.is_file():
        return None
    try:
        load_detector(weights)
        validate(onnx)
    except Exception as error:  # what is no ONNX at all has the parser's own error
        print_status(f"!! {display_path(weights)} or {onnx.name} is damaged and is made again ({one_line(error)})")
        return None
    teacher = Path(result["files"].get("teacher") or "")
    if teacher.is_file():  # a cache may have been emptied: then the table stands
        check_inputs(run_dir, {CHECKPOINT: file_input(teacher)})
    return result


def _planned(recipe: Recipe, device: Any = None, **data_rules: bool) -> Plan:
    print_status("Data and models", stage=1)
    return make_plan(recipe, device=device, **data_rules)


def _carry_out(plan: Plan, lock: FolderLock, fresh: bool) -> DistillResult:
    """Do what is left of a plan; a run that fails before its first checkpoint leaves no folder."""
    run_dir = lock.folder
    go_on = f"go on with: {distill_command(resume=display_path(run_dir))}"
    try:
        if fresh:
            save_recipe(run_dir, plan.recipe)
            record_inputs(run_dir, _keys(plan))
        result = None if fresh else _finished(run_dir)
        if result is not None:
            print_status(f"{display_path(run_dir)} is finished already: nothing is left to do")
        else:
            if not fresh:
                print_status(f"resuming {display_path(run_dir)}")
            result = _work(plan.with_data_copy(run_dir), lock)
        return _close(run_dir, result)
    except KeyboardInterrupt:
        lock.check()
        raise KeyboardInterrupt(f"stopped; {go_on}") from None
    except Exception as error:
        lock.check()
        kind = type(error) if isinstance(error, FGDError) else FGDError
        trained = any(run_dir.glob("*/weights/*.pt"))
        if fresh and not trained:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise kind(whole_line(error)) from error
        raise kind(f"{whole_line(error)} ({'what was trained is kept; ' if trained else ''}{go_on})") from error


def _work(plan: Plan, lock: FolderLock) -> dict[str, Any]:
    config, dataset, train, run_dir = plan.recipe.fgd, plan.dataset, plan.recipe.train, lock.folder
    teacher_file = _teacher(plan, run_dir)

    print_status(f"{'Distilling' if config.active else 'Training'} {plan.student.name}", stage=3)
    trainer = FGDTrainer.configured(teacher=teacher_file, config=config)
    best = train_stage(plan.student.file, trainer, str(dataset.file), run_dir / "student", train, plan.device)
    lock.check()
    weights = run_dir / "student.pt"
    finish.publish_student(best, weights)

    print_status("Measuring on the same images", stage=4)
    result = _measured(plan, weights, teacher_file, run_dir)
    print_status("Exporting to ONNX and comparing with PyTorch", stage=5)
    lock.check()
    save_result(run_dir, result)
    try:
        # Without imgsz it is the one that the checkpoint was trained with.
        exported = export_onnx(weights, run_dir / "student.onnx", data=str(dataset.file))
    except Exception:
        print(f"\n{report.table(_beside_twin(run_dir, result))}\n", flush=True)
        raise
    result |= {"imgsz": exported.imgsz, "files": {**result["files"], "onnx": str(exported.path)}}
    lock.check()
    _check_files(result)
    save_result(run_dir, result)
    return result


def _teacher(plan: Plan, run_dir: Path) -> Path | None:
    """Return the teacher's checkpoint, the same one each time that the run is resumed."""
    if plan.teacher is None:
        print_status("Teacher: none, every weight is 0", stage=2)
        return None
    print_status(f"Teacher {plan.teacher.name}", stage=2)
    started_with = (read_inputs(run_dir) or {}).get(CHECKPOINT)
    file = prepare_teacher(
        plan.teacher,
        plan.dataset,
        plan.recipe.teacher_train,
        run_dir,
        plan.device,
        started_with and started_with.digest,
    )
    check_inputs(run_dir, {CHECKPOINT: file_input(file)})
    return file


def _measured(plan: Plan, weights: Path, teacher_file: Path | None, run_dir: Path) -> dict[str, Any]:
    """Measure teacher and student, on the data and with the teacher that the training had, and return the table."""
    train = plan.recipe.train
    # Again, since the training may have taken days.
    dataset = scan_dataset(str(plan.dataset.file), train, recorded=True).copy_to(run_dir / DATA_FOLDER)
    check_inputs(
        run_dir, {DATA: data_input(dataset), **({CHECKPOINT: file_input(teacher_file)} if teacher_file else {})}
    )
    measured = train if plan.device is None else {**train, "device": plan.device}
    teacher_row = teacher_file and finish.measure(f"teacher {plan.teacher.name}", teacher_file, dataset, measured)
    student_row = finish.measure(f"student {plan.student.name}, {plan.method}", weights, dataset, measured)
    effective = {**ultralytics_defaults(), **train}
    return {
        "method": plan.method,
        "fingerprint": report.fingerprint(plan.student.digest, dataset.scan.digest, train, plan.device_type),
        **{key: effective[key] for key in ("seed", "epochs", "imgsz", "split")},
        "val_images": dataset.scan.val_images,
        "cpu_threads": torch.get_num_threads(),
        "teacher": teacher_row and asdict(teacher_row),
        "student": asdict(student_row),
        "files": {
            "weights": str(weights),
            "onnx": None,
            "teacher": teacher_file and str(teacher_file),
            "training": str(run_dir / "student"),
        },
        "command": plan.command(run_dir),
    }


def _check_files(result: dict[str, Any]) -> None:
    """Stop where the closing table would name files that are gone.

    Raises:
        FGDError: names them.
    """
    gone = [file for file in result["files"].values() if file and not Path(file).exists()]
    if gone:
        raise FGDError(f"{', '.join(gone)} was removed before the run was finished")


def _beside_twin(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its twin, which may be newer than the run, and keep it so."""
    twin = report.find_twin(run_dir, result)
    if twin != result.get("twin"):
        result = {**result, "twin": twin}
        save_result(run_dir, result)
    return result


def _close(run_dir: Path, result: dict[str, Any]) -> DistillResult:
    """Print the table, the files, and what to do next."""
    result = _beside_twin(run_dir, result)
    files = [f"{name:9}{printable(display_path(Path(path)))}" for name, path in result["files"].items() if path]
    print(f"\n{report.table(result)}\n\nfiles", *files, sep="\n  ")
    print("\nnext", *map(printable, report.next_steps(result)), sep="\n  ", flush=True)
    return DistillResult(Path(result["files"]["weights"]), Path(result["files"]["onnx"]), result, run_dir)
