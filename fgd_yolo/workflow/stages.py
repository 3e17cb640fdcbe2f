"""Stages 2 to 5 of a run: teacher, student, measuring and export. Each continues from the files that it finds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from ultralytics.utils.torch_utils import strip_optimizer

from fgd_yolo.config import PLAIN, Recipe
from fgd_yolo.console import print_status
from fgd_yolo.datasets import DATA_FOLDER, scan_dataset
from fgd_yolo.distributed.alone import alone
from fgd_yolo.distributed.exchange import Fact
from fgd_yolo.errors import FGDError
from fgd_yolo.export import export_onnx
from fgd_yolo.files import atomic_path
from fgd_yolo.locking import FolderLock
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.train_arguments import ultralytics_defaults
from fgd_yolo.training.preflight import model_cost
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.ultralytics import load_model, quiet_ultralytics
from fgd_yolo.workflow.announcements import AnnouncedRun, announce_run
from fgd_yolo.workflow.closing_table import find_twin, format_table, measure_run
from fgd_yolo.workflow.plan import Plan
from fgd_yolo.workflow.run_folder import (
    DATA,
    PLAIN_RECIPE,
    STUDENT_ONNX,
    STUDENT_PT,
    STUDENT_STAGE,
    check_inputs,
    checkpoint_input,
    checkpoint_inputs,
    data_input,
    file_input,
    read_inputs,
    save_recipe,
    save_result,
)
from fgd_yolo.workflow.time_estimate import StageSeconds, estimate_run
from fgd_yolo.workflow.training_stages import prepare_teacher, train_stage
from fgd_yolo.workflow.unlabeled import check_sample


def run_stages(plan: Plan, lock: FolderLock) -> dict[str, Any]:
    """Run stages 2 to 5 and return the numbers of the closing table."""
    prepared = None if plan.unlabeled is None else plan.unlabeled.data
    data = plan.recipe.data if prepared is None else str(prepared)
    found = Fact(*data_input(plan.dataset))
    announce_run(AnnouncedRun(data, found, plan.student.task.name, plan.recipe.train, prepared=prepared is not None))
    estimate = estimate_run(plan, lock.folder)
    if estimate is not None:
        print_status(f"expected on this device: {estimate}")
    begun = [perf_counter()]
    teachers = _teachers(plan, lock.folder)
    begun.append(perf_counter())
    weights = _distil(plan, teachers, lock)
    begun.append(perf_counter())
    with alone():
        result = _measure(plan, weights, teachers, lock)
        begun.append(perf_counter())
        result = _export(plan, weights, result, lock)
    if estimate is not None:
        ends = [*begun[1:], perf_counter()]
        taken = StageSeconds(*(end - start for start, end in zip(begun, ends, strict=True)))
        print_status(f"took {taken} (expected {estimate})")
    return result


def _teachers(plan: Plan, run_dir: Path) -> list[Path]:
    """Return the teachers' checkpoints, the same ones whenever the run is resumed."""
    if not plan.teachers:
        print_status("Teacher: none, all weights are 0", stage=2)
        return []
    several = len(plan.teachers) > 1
    print_status(f"Teacher{'s' * several} {', '.join(plan.teacher_names)}", stage=2)
    checkpoints: list[Path] = []
    for place, (teacher, fine_tuned) in enumerate(zip(plan.teachers, plan.fine_tuned, strict=True), start=1):
        if several:
            print_status(f"teacher {place}: {plan.teacher_names[place - 1]}, a model for {teacher.task.name}")
        recorded = (read_inputs(run_dir) or {}).get(checkpoint_input(place))
        started_with = None if recorded is None else recorded.digest
        train, rules = plan.recipe.teacher_train, {"fine_tuned": fine_tuned, "class_map": plan.recipe.map}
        checkpoint = prepare_teacher(teacher, plan.dataset, train, run_dir, plan.device, started_with, place, **rules)
        check_inputs(run_dir, {checkpoint_input(place): file_input(checkpoint)})
        checkpoints.append(checkpoint)
        if several:
            _print_cost(plan.teacher_names[place - 1], checkpoint, plan.recipe)
    return checkpoints


def _print_cost(name: str, checkpoint: Path, recipe: Recipe) -> None:
    """Print size and cost of a teacher at the image size that it has in the training."""
    imgsz = recipe.teacher_imgsz or {**ultralytics_defaults(), **recipe.train}["imgsz"]
    parameters, gflops = model_cost(load_model(checkpoint)[0], imgsz)
    print_status(f"teacher {name} has {parameters / 1e6:.2f} M parameters, {gflops:.2f} GFLOPs at {imgsz} px")


@safe_loading()
def _distil(plan: Plan, teachers: Sequence[Path], lock: FolderLock) -> Path:
    """Train the student, and return its best checkpoint without optimizer at the top of the run folder."""
    config, run_dir = plan.recipe.config, lock.folder
    print_status(f"{'Distilling' if config.active else 'Training'} {plan.student.name}", stage=3)
    unlabeled = None
    if plan.unlabeled is not None:
        unlabeled = plan.unlabeled.write_list(run_dir)
        if plan.unlabeled.data is None:
            train, names = plan.recipe.train, plan.dataset.names
            device = train.get("device") if plan.device is None else plan.device
            check_sample(plan.recipe, plan.unlabeled.train, teachers, names, train, device)
    trainer = FGDTrainer.with_teacher(teachers, config, unlabeled=unlabeled)
    train, data = plan.recipe.train, str(plan.dataset.file)
    best = train_stage(plan.student.file, trainer, data, run_dir / STUDENT_STAGE, train, plan.device)
    lock.check()
    weights = run_dir / STUDENT_PT
    _, checkpoint = load_model(best)
    with atomic_path(weights) as path:
        if checkpoint.get("optimizer") is None:
            shutil.copyfile(best, path)
        else:
            strip_optimizer(best, s=str(path))
    return weights


def _measure(plan: Plan, weights: Path, teachers: Sequence[Path], lock: FolderLock) -> dict[str, Any]:
    """Measure teachers and student on the data of the training, and write the numbers."""
    run_dir = lock.folder
    print_status("Measuring on the same images", stage=4)
    # Scanned again, since the data may have changed during the training.
    with quiet_ultralytics():
        dataset = scan_dataset(plan.dataset.file, plan.recipe.train, recorded=True).copy_to(run_dir / DATA_FOLDER)
    check_inputs(run_dir, {DATA: data_input(dataset), **checkpoint_inputs(teachers)})
    result = measure_run(plan, dataset, weights, teachers, run_dir)
    lock.check()
    if plan.method != PLAIN and plan.unlabeled is None:  # a plain run of the same images would need their labels
        save_recipe(run_dir, plan.plain_twin(run_dir), PLAIN_RECIPE)
    save_result(run_dir, result)
    return result


def _export(plan: Plan, weights: Path, result: dict[str, Any], lock: FolderLock) -> dict[str, Any]:
    """Export the student, and write the numbers with the path of the ONNX file.

    Raises:
        FGDError: the export failed, after the table has been printed; or files of the run were removed meanwhile.
    """
    run_dir = lock.folder
    print_status("Exporting to ONNX and comparing with PyTorch", stage=5)
    try:
        # Without imgsz, the size is the one that the checkpoint was trained with.
        exported = export_onnx(weights, run_dir / STUDENT_ONNX, data=str(plan.dataset.file))
    except Exception:
        print(f"\n{format_table(with_twin(run_dir, result))}\n", flush=True)
        raise
    result = {**result, "imgsz": exported.imgsz, "files": {**result["files"], "onnx": str(exported.path)}}
    lock.check()
    missing = [file for _, file in listed_files(result) if not Path(file).exists()]
    if missing:
        raise FGDError(f"{', '.join(missing)} was removed before the run was finished")
    save_result(run_dir, result)
    return result


def with_twin(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Add the twin, which may have finished after the run, to a closing table, and save the table if it changed."""
    twin = find_twin(run_dir, result)
    if twin != result.get("twin"):
        result = {**result, "twin": twin}
        save_result(run_dir, result)
    return result


def listed_files(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the files of a run, each after its name; those that do not exist yet are left out."""
    listed = {name: paths if isinstance(paths, list) else [paths] for name, paths in result["files"].items()}
    names = {"teachers": "teacher"}
    return [(names.get(name, name), path) for name, paths in listed.items() for path in paths if path]
