"""The matrix of families: one real distillation with every model YAML that the installed Ultralytics ships.

Each is the student of a narrow teacher, and the teacher of a narrow student, of the same task; some teach each other.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import ultralytics
from families_table import NARROW, Shipped, shipped
from torch import Tensor, nn

from fgd_yolo import FGDTrainer
from fgd_yolo.task_table import TASK_OF_HEAD, task_of_yaml
from fgd_yolo.ultralytics import read_architecture
from fixtures import CLASSES, KEYPOINTS, draw_dataset, narrow_yaml, save_checkpoint
from training import STEADY, quick_config, train

PARTS = 8

# What one side has and the other has not: DFL, a one2one branch, a level, a task's own family.
PAIRS = [
    ("yolov8", "yolo11"),
    ("yolov8", "yolo26"),
    ("yolo26", "yolov8"),
    ("yolov9t", "yolov10n"),
    ("yolov10n", "yolo26"),
    ("yolov8", "yolov8-p2"),
    ("yolov8-p2", "yolo26-p2"),
    ("yolov8-p2", "yolov8-p6"),
    ("yolov5-p6", "yolo26-p6"),
    ("yolo12", "yolov5"),
    ("yolov6", "yolov3-tiny"),
    ("yolov3-tiny", "yolov8-ghost"),
    ("yolov8-seg", "yolo26-seg"),
    ("yolo26-seg", "yolov8-seg-p6"),
    ("yolov8-pose-p6", "yolo26-pose"),
    ("yolo26-obb", "yolo12-obb"),
    ("yolov8", "rtdetr-l"),
    ("rtdetr-resnet50", "yolo26"),
    ("yolov8-rtdetr", "yolov8-p6"),
]
"""Students and teachers of different families."""


class Case(NamedTuple):
    """A student and its teacher, by the names of their YAMLs; `NARROW` is a narrow YOLOv8 of the other's task."""

    student: str
    teacher: str

    def __str__(self) -> str:
        return f"{self.teacher}-to-{self.student}"


@cache
def models() -> dict[str, Shipped]:
    """Return the models that are neither refused nor unknown, by name."""
    return {model.name: model for model in shipped() if model.task is not None}


def cases() -> list[Case]:
    """Return all cases, in an order in which neighbours are much alike."""
    students = [Case(name, NARROW) for name in models()]
    teachers = [Case(NARROW, name) for name in models()]
    return students + teachers + [Case(*pair) for pair in PAIRS]


def part(number: int) -> list[Case]:
    """Return one of `PARTS` parts of the cases; neighbours are in different parts, so that all take about as long.

    Raises:
        ValueError: there is no such part.
    """
    if number not in range(PARTS):
        raise ValueError(f"the families have the parts 0 to {PARTS - 1}, not {number}")
    return cases()[number::PARTS]


class Trained(NamedTuple):
    """What a distillation of one step left.

    Args:
        trainer: after its training, with the terms and gradients of its only step.
        student: the student's stock model, built anew from its YAML.
        teacher: the teacher's.
    """

    trainer: WatchedTrainer
    student: nn.Module
    teacher: nn.Module


class WatchedTrainer(FGDTrainer):
    """Records the terms of the latest step, and their gradients at the student's neck maps, by a hook of its own.

    Args:
        terms: the loss items of the distillation, by name.
        gradients: largest absolute gradient of their sum at each neck map of the student, finest first.
    """

    terms: dict[str, float]
    gradients: list[float]

    def _build_distiller(self, student):
        distiller = super()._build_distiller(student)
        plain_step = distiller.step

        def step(hook, *args: Any, **kwargs: Any):
            maps: list[Tensor] = []
            handle = student.model[-1].register_forward_pre_hook(lambda head, inputs: maps.extend(inputs[0]))
            loss, items = plain_step(hook, *args, **kwargs)
            handle.remove()
            own = loss[-len(distiller.names) :]
            self.terms = {name: float(items[name]) for name in distiller.names}
            gradients = torch.autograd.grad(own.sum(), maps, retain_graph=True, allow_unused=True)
            self.gradients = [_largest(gradient) for gradient in gradients]
            return loss, items

        distiller.step = step
        return distiller


def _largest(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(gradient.abs().max())


def distil(case: Case, folder: Path) -> Trained:
    """Train a student for one real step, on three drawn images with and without objects."""
    heads = {models()[name].head for name in case if name != NARROW}
    task = TASK_OF_HEAD[next(iter(heads))].name
    data = draw_dataset(folder / "data", train=3, val=1, task=task)
    student, teacher = (_yaml(name, task, width, folder) for name, width in zip(case, (0.0625, 0.125), strict=True))
    checkpoint = save_checkpoint(folder / "teacher.pt", teacher, data, task=task, **_keypoints(task))
    trainer_class = WatchedTrainer.with_teacher(checkpoint, quick_config(STEADY))
    small = {"epochs": 1, "batch": 3, "nbs": 3, "mosaic": 0, "workers": 0, "optimizer": "SGD", "task": task}
    image_px = 128 if "RTDETRDecoder" in heads else 64  # RT-DETR chooses 300 cells
    trainer = train(trainer_class, student, data, folder, imgsz=image_px, **small)
    return Trained(trainer, _build(student), _build(teacher))


def _yaml(name: str, task: str, width: float, folder: Path) -> str | Path:
    if name != NARROW:
        return f"{name}.yaml"
    return narrow_yaml(folder / f"narrow-{width}.yaml", width, task, **(KEYPOINTS if task == "pose" else {}))


def _keypoints(task: str) -> dict[str, list[int]]:
    return {"data_kpt_shape": KEYPOINTS["kpt_shape"]} if task == "pose" else {}


def _build(model: str | Path) -> nn.Module:
    """Build a stock model for the classes, and keypoints, of the drawn images."""
    task = task_of_yaml(read_architecture(model))
    return task.model(str(model), nc=len(CLASSES), verbose=False, **_keypoints(task.name))


@torch.no_grad()
def strides(model: nn.Module) -> list[int]:
    """Return the strides of a stock model's neck maps, finest first, as its head gets them for an image of 128 px."""
    maps: list[Tensor] = []
    handle = model.model[-1].register_forward_pre_hook(lambda head, inputs: maps.extend(inputs[0]))
    model.eval()(torch.zeros(1, 3, 128, 128))
    handle.remove()
    return [128 // neck_map.shape[-1] for neck_map in maps]


def head_channels(model: nn.Module) -> list[int]:
    """Return the channels of a model's neck maps, finest first, by the convolutions of the head that read them."""
    head = model.model[-1]
    branches = head.cv2 if hasattr(head, "cv2") else head.input_proj
    layers = [[layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)] for branch in branches]
    return [first.in_channels for first, *_ in layers]


def row_of(case: Case, run: Trained) -> dict[str, str]:
    """Return the row of a case in the record."""
    student, teacher = set(strides(run.student)), set(strides(run.teacher))
    return {
        "student": case.student,
        "teacher": case.teacher,
        "task": run.trainer.task.name,
        "student_parameters": str(_parameters(run.student)),
        "teacher_parameters": str(_parameters(run.teacher)),
        "shared_strides": _listed(student & teacher),
        "student_alone": _listed(student - teacher),
        "teacher_alone": _listed(teacher - student),
        "terms": " ".join(run.trainer.terms),
        "ultralytics": ultralytics.__version__,
        "torch": torch.__version__,
    }


def _parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _listed(strides: set[int]) -> str:
    return " ".join(map(str, sorted(strides)))
