"""The teacher of a training: frozen, fused and cut at its neck; its head is stored separately if it is imitated too."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgd_yolo.errors import FGDError
from fgd_yolo.neck import SAME_SIZE, Level, NeckEnd, neck_strides
from fgd_yolo.training.heads.head_outputs import HeadOutputs, keep_both_branches, run_branches
from fgd_yolo.training.speed.beside import Beside
from fgd_yolo.training.speed.half_precision import to_float32
from fgd_yolo.training.speed.pointwise import prefer_onednn

GREY = 114 / 255  # Ultralytics' padding colour


class FrozenTeacher:
    """Runs a teacher up to its neck, without gradients; the teacher never changes.

    Not an `nn.Module`, so that no `train()`, `state_dict()` or optimizer of the student reaches it.

    Args:
        model: a complete model; it is modified in place: batch norms are fused and the head is cut off.
        device: device to run on.
        memory_format: memory format of the weights; channels last is faster on every device.
        heads: whether to keep the head, for `predictions`.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, memory_format=torch.contiguous_format, heads: bool = False
    ):
        if heads:
            keep_both_branches(model.model[-1])
        if device.type == "cpu":
            prefer_onednn(model)
        self.stride = max(neck_strides(model))
        self.dtype = torch.float32
        model = model.fuse(verbose=False).eval().requires_grad_(False)
        self.head = model.model[-1].to(device, memory_format=memory_format) if heads else None
        model.model[-1] = NeckEnd(model.model[-1])
        self.model = model.to(device, memory_format=memory_format)

    def cast(self, dtype: torch.dtype, head: bool = True) -> None:
        """Store the weights in another precision, in which the teacher then runs.

        Args:
            dtype: float32, bfloat16 or float16.
            head: whether the head is cast too.
        """
        self.dtype = dtype
        self.model.to(dtype)
        if head and self.head is not None:
            self.head.to(dtype)
            if isinstance(getattr(self.head, "dfl", None), nn.Module):  # decodes outputs that are float32 again
                self.head.dfl.float()

    @torch.no_grad()  # not inference_mode: the loss keeps these maps for its backward pass
    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the neck maps in float32, finest first.

        A teacher with a larger stride than the student's (P6) may need a larger image than the student: the
        image is padded on the right and below, and the maps are cropped to the part that the image covers.

        Args:
            image: (B, C, H, W) in [0, 1].
        """
        height, width = image.shape[2:]
        below, right = -height % self.stride, -width % self.stride
        if below or right:
            image = F.pad(image, (0, right, 0, below), value=GREY)
        maps = self.model.predict(image.to(self.dtype))
        if below or right:
            maps = [
                neck_map[
                    ...,
                    : -(-height * neck_map.shape[-2] // (height + below)),
                    : -(-width * neck_map.shape[-1] // (width + right)),
                ]
                for neck_map in maps
            ]
        # Contiguous, as the student's maps, with which they are compared cell by cell.
        return [neck_map.to(torch.float32, memory_format=torch.contiguous_format) for neck_map in maps]

    @torch.no_grad()
    def predictions(self, maps: list[Tensor]) -> dict[str, Any]:
        """Return the raw outputs of the head for its neck maps, branch by branch, in float32."""
        dtype = next(self.head.parameters()).dtype
        outputs = run_branches(self.head, [neck_map.to(dtype) for neck_map in maps])
        return {branch: to_float32({**own, "feats": maps}) for branch, own in outputs.items()}


@dataclass(eq=False)
class Teacher:
    """A teacher as a training uses it.

    Args:
        name: name of its file, for messages; with folders if another teacher's file has the same.
        frozen: the model.
        levels: its neck maps, each paired with the student's of the same stride.
        known: numbers of the data's classes that it teaches; None for all, empty if its head teaches nothing.
        terms: terms by which the student's head can imitate its head.
        factor: its cells per side of a student's cell, if it sees larger images.
        labels_frames: whether it predicts all that the student's labels hold, so that it can label unlabelled frames.
    """

    name: str
    frozen: FrozenTeacher
    levels: list[Level]
    known: list[int] | None
    terms: tuple[str, ...] = ("cls", "box")
    factor: int = 1
    labels_frames: bool = False

    def outputs(self, maps: list[Tensor]) -> HeadOutputs:
        """Return the outputs of its head for its neck maps, on the levels that it shares with the student."""
        indices = [level.teacher_index for level in self.levels]
        return HeadOutputs(self.frozen.head, self.frozen.predictions(maps), indices, self.known, factor=self.factor)

    def levels_at(self, strides: Collection[int]) -> list[Level]:
        """Return the levels with these strides, finest first."""
        return [level for level in self.levels if level.stride in strides]


def on_grid(level: Level, teacher_maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Return the teacher's map of a level on the student's grid (H, W), shrunk if the teacher sees larger images."""
    teacher_map = teacher_maps[level.teacher_index]
    return teacher_map if level.same_grid else F.interpolate(teacher_map, size=grid, mode="area")


def shared_strides(teachers: Sequence[Teacher]) -> set[int]:
    """Return the strides that all teachers share with the student.

    Raises:
        FGDError: there is none.
    """
    strides = [{level.stride for level in teacher.levels} for teacher in teachers]
    shared = set.intersection(*strides) if strides else set()
    if teachers and not shared:
        names = ", ".join(teacher.name for teacher in teachers)
        raise FGDError(f"the teachers {names} have no neck stride in common: their heads cannot teach together")
    return shared


class SideBySide(nn.Module):
    """Student and teachers as one model, so that Ultralytics measures the memory of all.

    Args:
        student: the live model, compiled or not.
        teachers: the teachers.
        scale: side of the teachers' images over that of the student's.
    """

    def __init__(self, student: nn.Module, teachers: Iterable[FrozenTeacher], scale: Fraction = SAME_SIZE):
        super().__init__()
        self.scale, self.frozen = scale, list(teachers)
        self.student, self.teachers = student, nn.ModuleList(teacher.model for teacher in self.frozen)
        self.yaml, self.names, self.stride = student.yaml, student.names, student.stride  # read by Ultralytics

    def forward(self, image: Tensor):
        large = F.interpolate(image, scale_factor=float(self.scale)) if self.scale != SAME_SIZE else image
        beside = Beside(image.device)  # its memory is its own there too
        beside.start(image, [lambda: [teacher(large) for teacher in self.frozen]], lambda maps: maps[0])
        return self.student(image), beside.wait(image)
