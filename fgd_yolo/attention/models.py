"""The models that are looked at: a teacher, one student before and after, and the alignment between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError
from fgd_yolo.neck import Level, NeckHook, neck_channels, pair_levels
from fgd_yolo.training.checkpoints import SIDE, read_side_file
from fgd_yolo.ultralytics import load_detector

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Models:
    """What is compared.

    Args:
        teacher: a whole detector.
        students: the student by name, before and after.
        levels: pairs of neck maps.
        aligns: of each level; None where the student's maps are looked at as they are.
        seen: one sentence, how the student's maps are looked at.
    """

    teacher: nn.Module
    students: dict[str, nn.Module]
    levels: list[Level]
    aligns: list[nn.Module | None]
    seen: str

    @property
    def stride(self) -> int:
        """Input pixels that the side of a canvas must be a multiple of."""
        return max(int(model.stride.max()) for model in (self.teacher, *self.students.values()))


def load_models(teacher: Path, before: Path | nn.Module, after: Path, device: torch.device) -> Models:
    """Read the models, and the alignment that the student was distilled with where it lies beside it.

    Args:
        teacher: checkpoint.
        before: checkpoint, or a model that is in no file.
        after: checkpoint of the same architecture.
        device: where to run.

    Raises:
        FGDError: a file that is no detector, two students that differ, or no stride in common.
    """
    teacher_model, _ = load_detector(teacher)
    after_model, _ = load_detector(after)
    before_model = before if isinstance(before, nn.Module) else load_detector(before)[0]
    widths = [neck_channels(model) for model in (before_model, after_model)]
    if widths[0] != widths[1]:
        raise FGDError(
            f"before and after are not the same student (channels by stride {widths[0]} and {widths[1]}): "
            "give two checkpoints of one architecture"
        )
    levels = pair_levels(after_model, teacher_model)
    aligns, seen = find_alignments(levels, teacher, after)
    students = {BEFORE: before_model, AFTER: after_model}
    for model in (teacher_model, *students.values(), *filter(None, aligns)):
        model.to(device).eval()
    return Models(teacher_model, students, levels, aligns, seen)


def find_alignments(levels: list[Level], teacher: Path, after: Path) -> tuple[list[nn.Module | None], str]:
    """Return the alignment of each level and a sentence that says which.

    Args:
        levels: pairs of neck maps.
        teacher: checkpoint.
        after: the student's checkpoint; the side file lies beside it, or in `student/weights` beside a `student.pt`.
    """
    bare: list[nn.Module | None] = [None] * len(levels)
    if all(level.student_channels == level.teacher_channels for level in levels):
        return bare, "Student maps are seen as they are: they are as wide as the teacher's."
    without = "Student maps are seen as they are, and channels, which cannot be paired, are left out: "
    files = [folder / SIDE for folder in (after.parent, after.parent / "student/weights")]
    side_file = next((file for file in files if file.is_file()), None)
    if side_file is None:
        return bare, f"{without}there is no {SIDE} beside {after.name}."
    try:
        side = read_side_file(side_file)
    except FGDError:
        return bare, f"{without}{SIDE} is damaged."
    if side["teacher"] != sha256(teacher.read_bytes()).hexdigest():
        return bare, f"{without}{SIDE} is of a distillation by another teacher."
    if not any(FGDConfig.from_dict(side["options"]).feature_weights.values()):
        return bare, f"{without}the distillation of {SIDE} compared no maps."
    aligns = alignments(side["losses"], levels)
    if aligns is None:
        return bare, f"{without}{SIDE} is of a student of another width."
    end = side["options"]["decay_end"]
    ended = f" until {end:.0%} of the run" if end < 1 else ""
    trained = f"of epoch {side['epoch'] + 1}, trained with 'after'{ended}"
    return aligns, f"Student maps are seen through the alignment {trained}."


def alignments(losses: Mapping[str, Tensor], levels: list[Level]) -> list[nn.Module | None] | None:
    """Build the alignments that a side file's loss modules hold, or return None where they do not fit.

    Args:
        losses: weights by name, such as `0.align.weight`; the number is the level's.
        levels: pairs of neck maps.
    """
    built: list[nn.Module | None] = []
    for number, level in enumerate(levels):
        if level.student_channels == level.teacher_channels:
            built.append(None)
            continue
        align = nn.Conv2d(level.student_channels, level.teacher_channels, kernel_size=1)
        weights = {name: losses.get(f"{number}.align.{name}") for name in ("weight", "bias")}
        if any(value is None or value.shape != getattr(align, name).shape for name, value in weights.items()):
            return None
        align.load_state_dict(weights)
        built.append(align)
    return built


@torch.no_grad()
def neck_maps(model: nn.Module, image: Tensor) -> tuple[list[Tensor], Tensor | tuple]:
    """Run a whole detector once and return its neck maps, finest first, and what it put out."""
    hook = NeckHook(model)
    try:
        outputs = model(image)
        return hook.pop(), outputs
    finally:
        hook.remove()
