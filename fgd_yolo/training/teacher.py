"""The teacher of a training: frozen, fused and cut at its neck; its head is stored separately if it is imitated too."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgd_yolo.neck import NeckEnd
from fgd_yolo.training.head_outputs import keep_both_branches, run_branches

GREY = 114 / 255  # Ultralytics' padding colour


class FrozenTeacher:
    """Runs a teacher up to its neck, without gradients; the teacher never changes.

    Not an `nn.Module`, so that no `train()`, `state_dict()` or optimizer of the student reaches it.

    Args:
        model: a complete detector; it is modified in place: batch norms are fused and the head is cut off.
        device: device to run on.
        memory_format: memory format of the weights; channels last is faster on CUDA.
        heads: whether to keep the head, for `predictions`.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, memory_format=torch.contiguous_format, heads: bool = False
    ):
        if heads:
            keep_both_branches(model.model[-1])
        model = model.fuse(verbose=False).eval().requires_grad_(False)
        self.head = model.model[-1].to(device, memory_format=memory_format) if heads else None
        model.model[-1] = NeckEnd(model.model[-1])
        self.model = model.to(device, memory_format=memory_format)
        self.stride = int(model.stride.max())

    @torch.no_grad()  # not inference_mode: the loss keeps these maps for its backward pass
    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the neck maps, finest first.

        A teacher with a larger stride than the student's (P6) may need a larger image than the student: the
        image is padded on the right and below, and the maps are cropped to the part that the image covers.

        Args:
            image: (B, C, H, W) in [0, 1].
        """
        height, width = image.shape[2:]
        below, right = -height % self.stride, -width % self.stride
        if not below and not right:
            return self.model.predict(image)
        maps = self.model.predict(F.pad(image, (0, right, 0, below), value=GREY))
        return [
            neck_map[
                ...,
                : -(-height * neck_map.shape[-2] // (height + below)),
                : -(-width * neck_map.shape[-1] // (width + right)),
            ]
            for neck_map in maps
        ]

    @torch.no_grad()
    def predictions(self, maps: list[Tensor]) -> dict[str, Any]:
        """Return the raw outputs of the head for its neck maps, branch by branch."""
        return run_branches(self.head, maps)


class SideBySide(nn.Module):
    """Student and teacher as one model, so that Ultralytics measures the memory of both.

    Args:
        student: the live model, compiled or not.
        teacher: a model that is cut at its neck.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module):
        super().__init__()
        self.student, self.teacher = student, teacher
        self.yaml, self.names, self.stride = student.yaml, student.names, student.stride  # read by Ultralytics

    def forward(self, image: Tensor):
        with torch.no_grad():
            maps = self.teacher.predict(image)
        return self.student(image), maps
