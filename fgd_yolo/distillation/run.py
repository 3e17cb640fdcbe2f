"""The whole job: from two model names to a distilled student, measured beside its teacher and exported."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.distillation import finish, report
from fgd_yolo.distillation.folder import new_run_folder, read_recipe, read_result, save_recipe, save_result
from fgd_yolo.distillation.options import as_recipe, host_defaults
from fgd_yolo.distillation.plan import Plan, make_plan
from fgd_yolo.distillation.prepare import prepare_teacher
from fgd_yolo.distillation.stage import train_stage
from fgd_yolo.distillation.trainer import FGDTrainer
from fgd_yolo.distillation.wording import distill_command, say, shown
from fgd_yolo.errors import FGDError, UsageError, whole_line
from fgd_yolo.export import export_onnx
from fgd_yolo.text import printable


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
        others |= {"teacher_epochs": teacher_epochs, **train_args}
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
    plan = _planned(recipe)
    run_dir = new_run_folder(plan.project, plan.name, plan.student.name)
    say(f"run folder: {shown(run_dir)}")
    return _carry_out(plan, run_dir, fresh=True)


def _resume(run_dir: Path, said: list[str], device: Any) -> DistillResult:
    if said:
        raise UsageError(f"--resume goes on with the options of the run: leave out {', '.join(said)}")
    recipe = read_recipe(run_dir)
    result = read_result(run_dir)
    if result is not None and all(Path(result["files"].get(key) or "").is_file() for key in ("weights", "onnx")):
        say(f"{shown(run_dir)} is finished already: nothing is left to do")
        return _close(run_dir, result)
    say(f"resuming {shown(run_dir)}")
    return _carry_out(_planned(recipe, device), run_dir, fresh=False)


def _planned(recipe: Recipe, device: Any = None) -> Plan:
    say("Data and models", stage=1)
    return make_plan(recipe, device=device)


def _carry_out(plan: Plan, run_dir: Path, fresh: bool) -> DistillResult:
    """Do what is left of a plan; a run that fails before its first checkpoint leaves no folder."""
    go_on = f"go on with: {distill_command(resume=shown(run_dir))}"
    try:
        if fresh:
            save_recipe(run_dir, plan.recipe)
        return _close(run_dir, _work(plan, run_dir))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {go_on}") from None
    except Exception as error:
        kind = type(error) if isinstance(error, FGDError) else FGDError
        if fresh and not any(run_dir.rglob("*.pt")):
            shutil.rmtree(run_dir, ignore_errors=True)
            raise kind(whole_line(error)) from error
        raise kind(f"{whole_line(error)} (what was trained is kept; {go_on})") from error


def _work(plan: Plan, run_dir: Path) -> dict[str, Any]:
    config, dataset, train = plan.recipe.fgd, plan.dataset, plan.recipe.train
    teacher_file = None
    if plan.teacher is None:
        say("Teacher: none, every weight is 0", stage=2)
    else:
        say(f"Teacher {plan.teacher.name}", stage=2)
        teacher_file = prepare_teacher(plan.teacher, dataset, plan.recipe.teacher_train, run_dir, plan.device)

    say(f"{'Distilling' if config.active else 'Training'} {plan.student.name}", stage=3)
    trainer = FGDTrainer.configured(teacher=teacher_file, config=config)
    best = train_stage(plan.student.file, trainer, dataset.yaml, run_dir / "student", train, plan.device)
    weights = run_dir / "student.pt"
    finish.publish_student(best, weights)

    say("Measuring on the same images", stage=4)
    measured = train if plan.device is None else {**train, "device": plan.device}
    teacher_row = teacher_file and finish.measure(f"teacher {plan.teacher.name}", teacher_file, dataset, measured)
    student_row = finish.measure(f"student {plan.student.name}, {plan.method}", weights, dataset, measured)

    effective = {**host_defaults(), **train}
    result = {
        "method": plan.method,
        "fingerprint": report.fingerprint(plan.student.key, dataset.key, train, plan.device_type),
        **{key: effective[key] for key in ("seed", "epochs", "imgsz", "split")},
        "val_images": dataset.val_images,
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
    say("Exporting to ONNX and comparing with PyTorch", stage=5)
    save_result(run_dir, result)
    try:
        # Without imgsz it is the one that the checkpoint was trained with.
        exported = export_onnx(weights, run_dir / "student.onnx", data=dataset.yaml)
    except Exception:
        print(f"\n{report.table(_beside_twin(run_dir, result))}\n", flush=True)
        raise
    result |= {"imgsz": exported.imgsz, "files": {**result["files"], "onnx": str(exported.path)}}
    save_result(run_dir, result)
    return result


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
    files = [f"{name:9}{printable(shown(Path(path)))}" for name, path in result["files"].items() if path]
    print(f"\n{report.table(result)}\n\nfiles", *files, sep="\n  ")
    print("\nnext", *map(printable, report.next_steps(result)), sep="\n  ", flush=True)
    return DistillResult(Path(result["files"]["weights"]), Path(result["files"]["onnx"]), result, run_dir)
