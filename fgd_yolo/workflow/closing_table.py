"""The closing table of a run: accuracy, size and speed of its teachers and its student.

If it exists, the twin of the run is a further row: the same run without the distillation, or with one.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils.torch_utils import get_flops

from fgd_yolo.config import PLAIN
from fgd_yolo.datasets import Dataset
from fgd_yolo.files import sha256_of_json
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.task_table import TASKS, Accuracy, YoloTask
from fgd_yolo.text import counted, printable
from fgd_yolo.timing import UNKNOWN, best_time, format_number
from fgd_yolo.train_arguments import count_steps, learning_arguments, ultralytics_defaults, validation_arguments
from fgd_yolo.training.teachers.other_tasks import Labels, accuracy_in_table
from fgd_yolo.training.teachers.validation_by_name import validate_by_name
from fgd_yolo.ultralytics import load_model, round_imgsz
from fgd_yolo.workflow.plan import Plan
from fgd_yolo.workflow.run_folder import RESULT, STUDENT_STAGE, read_result
from fgd_yolo.workflow.teacher_agreement import agreement_note, measure_agreement
from fgd_yolo.workflow.unlabeled import is_imitation

_WARM_UPS, _ROUNDS = 2, 8
_MAP_WIDTHS = {"map50_95": 10, "map50": 9}  # characters of the columns of accuracy, without their prefix


@dataclass(frozen=True)
class Row:
    """A model in the table; None is a value that could not be measured.

    Args:
        name: label of the row.
        map50_95: mean average precision over IoU (for keypoints OKS) 0.5 to 0.95, in [0, 1], of what the task predicts.
        map50: the same at 0.5.
        box_map50_95: that of the boxes; equal to `map50_95` for a task that predicts boxes alone.
        box_map50: the same at IoU 0.5.
        parameters: number of parameters of the fused model.
        gflops: GFLOPs of the fused model for one image.
        cpu_ms: shortest time of a forward pass of one image through the fused model on the CPU, in milliseconds.
        known: names of the classes of the data that the model knows, over which the accuracy is the mean; None for all.
        unknown: names of the others.
    """

    name: str
    map50_95: float | None
    map50: float | None
    box_map50_95: float | None
    box_map50: float | None
    parameters: int
    gflops: float | None
    cpu_ms: float | None
    known: list[str] | None = None
    unknown: list[str] | None = None


def measure_run(plan: Plan, dataset: Dataset, weights: Path, teachers: Sequence[Path], run_dir: Path) -> dict[str, Any]:
    """Measure teachers and student on the same images, and return the numbers of the table.

    Args:
        plan: plan of the run.
        dataset: data set, scanned after the training, with a copy in the run folder.
        weights: the student's checkpoint.
        teachers: the teachers' checkpoints, in the order of the plan.
        run_dir: the run folder.
    """
    train = plan.recipe.train
    arguments = train if plan.device is None else {**train, "device": plan.device}
    labels = Labels.of_data(plan.student.task, dataset.info)
    teacher_imgsz = plan.recipe.teacher_imgsz or None
    teacher_arguments = {**arguments, "imgsz": teacher_imgsz} if teacher_imgsz else arguments
    teacher_rows = [
        measure(f"teacher {name}", file, dataset, teacher_arguments, plan.recipe.map, labels)
        for name, file in zip(plan.teacher_names, teachers, strict=True)
    ]
    agreement = None
    if dataset.labelled_by:  # against its own objects a teacher's numbers say nothing
        teacher_rows = [replace(row, **dict.fromkeys(Accuracy._fields)) for row in teacher_rows]
        agreement = _agreement(plan, dataset, weights, teachers, arguments)
    student_row = measure(f"student {plan.student.name}, {plan.method}", weights, dataset, arguments)
    effective = {**ultralytics_defaults(), **train}
    batches, steps = count_steps(train, plan.epoch_images)
    return {
        "task": plan.student.task.name,
        "method": plan.method,
        "fingerprint": fingerprint(plan.student.digest, _data_digest(plan, dataset), train, plan.device_type),
        **{key: effective[key] for key in ("seed", "epochs", "batch", "nbs", "imgsz", "split", "fraction")},
        "epochs_trained": _epochs_trained(run_dir / STUDENT_STAGE),
        "teacher_imgsz": teacher_imgsz,
        "batches": batches,
        "optimizer_steps": steps,
        "train_images": dataset.scan.train_images,
        "val_images": dataset.scan.val_images,
        "unlabeled_images": 0 if plan.unlabeled is None else len(plan.unlabeled.train.files),
        "labelled_by": dataset.labelled_by,
        "agreement": agreement,
        "imitation": is_imitation(plan.recipe),
        "data": plan.recipe.data,
        "images": str(dataset.images(effective["split"])[0].parent),
        "cpu_threads": torch.get_num_threads(),
        "teachers": [asdict(row) for row in teacher_rows],
        "student": asdict(student_row),
        "files": {
            "weights": str(weights),
            "onnx": None,
            "teachers": [str(file) for file in teachers],
            "training": str(run_dir / STUDENT_STAGE),
        },
    }


def _epochs_trained(folder: Path) -> int | None:
    """Return the epochs that a training made, which may have stopped early; None if its table cannot be read."""
    try:
        with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
            return max(int(float(row[0])) for row in list(csv.reader(file))[1:])
    except (OSError, ValueError, IndexError):
        return None


def _data_digest(plan: Plan, dataset: Dataset) -> str:
    """Return the digest of all train and val images; a run without the frames differs in more than the distillation."""
    frames = [] if plan.unlabeled is None else [plan.unlabeled.train.digest]
    return "-".join([dataset.scan.digest, *frames])


def _agreement(plan, dataset: Dataset, weights: Path, teachers: Sequence[Path], train: Mapping[str, Any]):
    """Return the agreement of the student with its teachers on the held-out frames, as a mapping."""
    arguments = validation_arguments(train)
    images, options = dataset.images(arguments["split"]), (arguments["imgsz"], arguments["device"])
    score = dataset.labelled_by["score"]
    rules = plan.recipe.map, score, plan.recipe.teacher_imgsz or None
    return measure_agreement(weights, teachers, images, dataset.names, *rules, *options)._asdict()


def measure(
    name: str,
    weights: Path,
    dataset: Dataset,
    train: Mapping[str, Any],
    class_map: Mapping[str, str] | None = None,
    labels: Labels | None = None,
) -> Row:
    """Return a model's row: accuracy on the reported split, size, and speed on one CPU.

    Args:
        name: label of the row.
        weights: checkpoint of a model.
        dataset: scanned data set to validate on.
        train: train arguments of the run, the same for teacher and student.
        class_map: class of the data by class of the model, if it has others.
        labels: labels of the data, for a model that may be of another task; None for those of the model's task.
    """
    arguments = {"data": str(dataset.file), **validation_arguments(train)}
    run, known = validate_by_name(weights, dataset.names, arguments, labels=labels, class_map=class_map)
    cost = _cost(weights, int(arguments["imgsz"]), dataset.channels)
    model, _ = load_model(weights)
    measured = accuracy_in_table(run, known, labels or Labels.of_model(model), model)
    if known is None:
        return Row(name, **measured, **cost)
    names = dataset.names.items()
    return Row(
        name,
        **measured,
        **cost,
        known=[label for number, label in names if number in known],
        unknown=[label for number, label in names if number not in known],
    )


@safe_loading()
def _cost(weights: Path, imgsz: int, channels: int) -> dict[str, Any]:
    """Return `parameters`, `gflops` and `cpu_ms` of a row, of the fused model."""
    model, _ = load_model(weights)
    model = model.fuse(verbose=False)
    size = round_imgsz(imgsz, model.stride)  # as in the validation
    image = torch.zeros(1, channels, size, size)
    with torch.inference_mode():
        seconds = best_time(lambda: model(image), _ROUNDS, _WARM_UPS)
    parameters = sum(weight.numel() for weight in model.parameters())
    return {
        "parameters": parameters,
        "gflops": float(get_flops(model, size)) or None,
        "cpu_ms": seconds * 1e3,
    }


def fingerprint(student: str, data: str, train: Mapping[str, Any], device_type: str) -> str:
    """Return a digest that is equal for two runs which differ in nothing but the distillation.

    Args:
        student: digest of the weights or architecture that the student started from.
        data: digest of the data set.
        train: Ultralytics train arguments, completed by Ultralytics' defaults.
        device_type: "cpu" or "cuda".
    """
    return sha256_of_json([student, data, learning_arguments(train), device_type])


def find_twin(run_dir: Path, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the twin of a run, or None: the newest finished run beside it that differs only in the distillation.

    The twin of a distilled run is a plain one, and the reverse.

    Args:
        run_dir: folder of the run.
        result: closing table of the run.
    """
    plain = result["method"] == PLAIN
    for path in sorted(run_dir.parent.glob(f"*/{RESULT}"), key=lambda path: path.stat().st_mtime, reverse=True):
        other = read_result(path.parent) if path.parent != run_dir else None
        if other and other.get("fingerprint") == result["fingerprint"] and (other["method"] == PLAIN) != plain:
            return {"run": path.parent.name, "method": other["method"], "student": other["student"]}
    return None


def format_table(result: Mapping[str, Any]) -> str:
    """Return the table as text.

    Args:
        result: numbers of the table: `teachers`, `student`, `method`, and `twin` if present.
    """
    rows = [Row(**row) for row in (*result["teachers"], result["student"])]
    twin = result.get("twin")
    if twin:
        rows.append(Row(**{**twin["student"], "name": f"the same student, {twin['method']} ({twin['run']})"}))
    width = max(len(row.name) for row in rows) + 2
    task = TASKS[result["task"]]
    lines = _header(task, width, "agreement: " if result.get("labelled_by") else "")
    for row in rows:
        maps = "".join(f"{format_number(getattr(row, key), '.3f'):>{space}}" for key, space in _map_columns(task))
        speed = f"{format_number(row.gflops, '.2f'):>9}{format_number(row.cpu_ms, '.1f'):>9}"
        lines.append(f"{row.name:{width}}{maps}{row.parameters / 1e6:>11.2f} M{speed}")
    if twin:
        distilled, plain = result["student"], twin["student"]
        if result["method"] == PLAIN:
            distilled, plain = plain, distilled
        gains = "".join(f"{_gain(distilled[key], plain[key]):>{space}}" for key, space in _map_columns(task))
        lines.append(f"{'distilled - plain':{width}}{gains}   one seed ({result['seed']})")
    lines += [_classes_note(row) for row in rows if row.unknown]
    lines.append(_note(task, result))
    if result.get("labelled_by"):
        lines += agreement_note(result["labelled_by"], result.get("agreement"))
    return "\n".join(map(printable, lines))


def _map_columns(task: YoloTask) -> list[tuple[str, int]]:
    """Return the fields of the columns of accuracy, with their widths."""
    return [(f"{prefix}{name}", space) for prefix in task.accuracies.values() for name, space in _MAP_WIDTHS.items()]


def _header(task: YoloTask, width: int, kind: str = "") -> list[str]:
    """Return the titles of the columns; a line above them says what is measured, if that differs or is no accuracy."""
    space = sum(_MAP_WIDTHS.values())
    words = list(task.accuracies) if len(task.accuracies) > 1 or not kind else [""]
    shown = [f"{kind}{word}".strip(": ") for word in words]
    groups = f"{'':{width}}" + "".join(f"  {f' {word} ':-^{space - 2}}" for word in shown)
    maps = f"{'mAP50-95':>{_MAP_WIDTHS['map50_95']}}{'mAP50':>{_MAP_WIDTHS['map50']}}" * len(task.accuracies)
    titles = f"{'':{width}}{maps}{'parameters':>13}{'GFLOPs':>9}{'CPU ms':>9}"
    return [groups, titles] if len(task.accuracies) > 1 or kind else [titles]


def _note(task: YoloTask, result: Mapping[str, Any]) -> str:
    """Return the line below the table: what the numbers were measured on."""
    of_words = "" if task.measured == "boxes" else f" of {' and '.join(task.accuracies)}"
    threads = counted(result["cpu_threads"], "thread")
    teacher_imgsz, several = result.get("teacher_imgsz"), len(result["teachers"]) > 1
    sizes = "" if teacher_imgsz in (None, result["imgsz"]) else f", of the teacher{'s' * several} at {teacher_imgsz} px"
    return (
        f"mAP{of_words} on {result['val_images']} {result['split']} images at {result['imgsz']} px{sizes}. "
        f"CPU ms: PyTorch, one image, {threads}, always on the CPU."
    )


def _classes_note(row: Row) -> str:
    """Return a line about a row whose accuracy is not over all classes."""
    count = len(row.known) + len(row.unknown)
    if not row.known:
        return f"{row.name}: knows none of the {count} classes, so its mAP is not measured"
    return f"{row.name}: mAP over {len(row.known)} of {count} classes: {', '.join(row.known)}"


def _gain(distilled: float | None, plain: float | None) -> str:
    return UNKNOWN if distilled is None or plain is None else format_number(distilled - plain, "+.3f")
