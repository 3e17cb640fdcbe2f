"""Random outputs of heads, with the outputs of every task at once, and their comparison."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fgd_yolo.methods import HeadLoss, Predictions, TeacherPredictions

LEVELS = {8: (4, 6), 16: (2, 3)}  # rows and columns of each stride: an input of 32 x 48 pixels


def anchor_grid() -> tuple[Tensor, Tensor]:
    """Anchors (2, 30) in cells and strides (30,) of both levels."""
    anchors, strides = [], []
    for stride, (rows, columns) in LEVELS.items():
        anchors += [(column + 0.5, row + 0.5) for row in range(rows) for column in range(columns)]
        strides += [float(stride)] * (rows * columns)
    return torch.tensor(anchors).T.contiguous(), torch.tensor(strides)


def all_outputs(
    seed: int, classes: int = 3, keypoints: int = 5, prototypes: int = 4, grid: tuple[int, int] = (8, 12)
) -> Predictions:
    """Outputs of two images that require a gradient; angles differ by at most 40 degrees between seeds."""
    generator = torch.Generator().manual_seed(seed)
    anchors, strides = anchor_grid()
    A = len(strides)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    outputs = Predictions(
        boxes=2 * random(2, 64, A),
        scores=2 * random(2, classes, A),
        angles=torch.rand(2, 1, A, generator=generator) * math.pi * 2 / 9,
        keypoints=3 * random(2, keypoints, 2, A),
        visibility=2 * random(2, keypoints, A),
        coefficients=random(2, prototypes, A),
        prototypes=random(2, prototypes, *grid),
        anchors=anchors,
        strides=strides,
    )
    return Predictions(*(output.requires_grad_() for output in outputs))


def compared(student: Predictions, *teachers: Predictions | TeacherPredictions, **weights: float) -> dict[str, Tensor]:
    """The terms of a head loss; both of a detector with weight 1 if none are named."""
    teachers = [own if isinstance(own, TeacherPredictions) else TeacherPredictions(own) for own in teachers]
    return HeadLoss(weights or {"cls": 1.0, "box": 1.0})(student, teachers).terms
