"""Open a student and a teacher, and find what both see on frames, of the classes that both know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fgd_yolo.console import format_classes
from fgd_yolo.errors import UsageError, close_match
from fgd_yolo.labelling import ExportedLabeller, ImageLabels, Labeller

SEEN_FROM = 0.1
"""Score from which a model sees an object at all; without a lower one, a student that is just unsure would count as one
that sees nothing."""


@dataclass(frozen=True)
class ComparedModels:
    """A student and a teacher of one task.

    Args:
        student: the student.
        teacher: the teacher, whose labels have the student's classes.
        classes: numbers of the student's classes that are compared.
    """

    student: Labeller | ExportedLabeller
    teacher: Labeller
    classes: tuple[int, ...]

    @property
    def names(self) -> dict[int, str]:
        """All classes of the student by number."""
        return self.student.names

    def label(self, frames: Sequence[Path]) -> tuple[list[ImageLabels], list[ImageLabels]]:
        """Return what the teacher and what the student sees of the compared classes, frame by frame.

        Frames that one of them cannot read are left out.
        """
        teacher = self.teacher(frames, "labels of the teacher")
        student = {
            entry.image: entry for entry in self.student([entry.image for entry in teacher], "labels of the student")
        }
        pairs = [(entry, student[entry.image]) for entry in teacher if entry.image in student]
        return [self._compared(entry) for entry, _ in pairs], [self._compared(entry) for _, entry in pairs]

    def _compared(self, labels: ImageLabels) -> ImageLabels:
        return replace(labels, objects=tuple(entry for entry in labels.objects if entry.class_id in self.classes))


def open_models(
    student: Path,
    teacher: Path,
    *,
    confident: float,
    classes: Sequence[str] = (),
    imgsz: int | None = None,
    device: Any = None,
) -> ComparedModels:
    """Open a student and a teacher.

    Args:
        student: checkpoint, or exported ONNX file.
        teacher: checkpoint.
        confident: score from which a model is confident of an object.
        classes: names of the classes to compare; none for all that both know.
        imgsz: input size of checkpoints in pixels; None is that of their training. An exported file has its own.
        device: as Ultralytics' argument; None is the first GPU, or the CPU.

    Raises:
        FGDError: a file is not such a model.
        UsageError: the tasks differ, no class is in common, or a model does not know a class that is asked for.
    """
    seen_from = min(SEEN_FROM, confident)
    if student.suffix.lower() == ".onnx":
        opened = ExportedLabeller(student, min_score=seen_from, device=device)
    else:
        opened = Labeller(student, min_score=seen_from, imgsz=imgsz, device=device)
    sees = Labeller(teacher, names=opened.names, min_score=seen_from, imgsz=imgsz, device=device)
    if sees.task.name != opened.task.name:
        raise UsageError(
            f"{student} is a model for {opened.task.name}, the teacher {teacher} for {sees.task.name}: give two models "
            "of one task"
        )
    return ComparedModels(opened, sees, _chosen(classes, opened.names, sees.known))


def _chosen(classes: Sequence[str], names: dict[int, str], known: Collection[int]) -> tuple[int, ...]:
    """Return the numbers of the classes to compare."""
    shared = {names[number]: number for number in known}
    for name in classes:
        if name not in shared:
            side = "teacher" if name in names.values() else "student"
            raise UsageError(
                f"--classes {name}: the {side} does not know it{close_match(name, shared)} "
                f"(both know {format_classes(dict(enumerate(shared)), 10)})"
            )
    return tuple(sorted(shared[name] for name in classes or shared))
