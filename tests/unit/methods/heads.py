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
    """Outputs of two images that require a gradient; angles differ by at most 40 degrees between seeds.

    Every anchor has one class; three tenths are matched to a box of it, as many others are candidates.
    """
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
    column = one_class_per_anchor(classes, A, generator)
    drawn, overlap = (torch.rand(2, 1, A, generator=generator) for _ in range(2))
    outputs = outputs._replace(
        matched=column * (drawn < 0.3) * (0.1 + 0.9 * overlap), candidates=column * (drawn < 0.6).float()
    )
    return Predictions(*(output.requires_grad_() for output in outputs))


def one_class_per_anchor(classes: int, anchors: int, generator: torch.Generator) -> Tensor:
    """(2, classes, anchors): 1 in the column of a random class of each anchor, 0 elsewhere."""
    numbers = torch.randint(classes, (2, anchors), generator=generator)
    return torch.nn.functional.one_hot(numbers, classes).transpose(1, 2).float()


def exact_outputs(seed: int, bins: int, classes: int = 3, anchors: int = 7, rotated: bool = False) -> Predictions:
    """Outputs of a detector in float64, for comparisons to 1e-5; with one bin some boxes have no overlap or no size."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.randn(2, 4 * bins, anchors, generator=generator) * 2 + (1 if bins == 1 else 0)
    scores = 2 * torch.randn(2, classes, anchors, generator=generator)
    angles = torch.rand(2, 1, anchors, generator=generator) * 1.2 if rotated else None
    column = one_class_per_anchor(classes, anchors, generator)
    drawn, overlap = (torch.rand(2, 1, anchors, generator=generator) for _ in range(2))
    return Predictions(
        boxes.double().requires_grad_(),
        scores.double().requires_grad_(),
        angles=None if angles is None else angles.double(),
        matched=(column * (drawn < 0.4) * (0.1 + 0.9 * overlap)).double(),
        candidates=(column * (drawn < 0.7)).double(),
    )


def plain_angles_agree(student: Predictions, teacher: Predictions, image: int, a: int) -> float:
    """Factor of the cost of an anchor's edges: 1 for upright boxes."""
    if student.angles is None:
        return 1.0
    difference = (student.angles[image, 0, a] - teacher.angles[image, 0, a]).item()
    return max(math.cos(2 * difference), 0.0) if math.cos(difference) > 0 else 0.0


def plain_divergence(student: Predictions, teacher: Predictions, image: int, a: int, temperature: float) -> Tensor:
    """Softened divergence of an anchor's bins by loops over edges and bins, mean over the four edges."""
    bins = student.boxes.shape[1] // 4
    total = 0.0
    for side in range(4):
        own, wanted = (
            [(head.boxes[image, side * bins + number, a] / temperature).exp() for number in range(bins)]
            for head in (student, teacher)
        )
        for p, q in zip(own, wanted, strict=True):
            p, q = p / sum(own), (q / sum(wanted)).detach()
            total = total + q * (q.log() - p.log())
    return temperature**2 * total / 4 * plain_angles_agree(student, teacher, image, a)


def plain_overlap(student: Predictions, known: list[int], image: int, a: int) -> float:
    """Overlap of an anchor with the labelled box that it is assigned to, if its class is known; otherwise 0."""
    return max(student.matched[image, c, a].item() for c in known)


def assert_equal_to_plain(term: Tensor, plain: Tensor, student: Predictions, fields: tuple[str, ...]) -> None:
    """Value and gradients are equal to 1e-5, and neither is 0."""
    assert term.item() > 0
    torch.testing.assert_close(term, plain, rtol=1e-5, atol=1e-9)
    outputs = [getattr(student, field) for field in fields]
    pairs = zip(*(torch.autograd.grad(value, outputs, retain_graph=True) for value in (term, plain)), strict=True)
    for actual, wanted in pairs:
        assert wanted.any()
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-9)


def compared(student: Predictions, *teachers: Predictions | TeacherPredictions, **weights: float) -> dict[str, Tensor]:
    """The terms of a head loss; both of a detector with weight 1 if none are named."""
    teachers = [own if isinstance(own, TeacherPredictions) else TeacherPredictions(own) for own in teachers]
    return HeadLoss(weights or {"cls": 1.0, "box": 1.0})(student, teachers).terms
