"""Losses with random context blocks, random maps, and boxes of the kinds that broke other implementations."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import FGDLoss
from unit.methods.reference import align

WEIGHTS = {"fg_weight": 0.7, "bg_weight": 0.4, "attn_weight": 0.2, "rel_weight": 0.03}
GRID = (8, 4)
BOXES = {
    "random": ([[0.41, 0.33, 0.37, 0.52], [0.62, 0.71, 0.21, 0.13], [0.27, 0.55, 0.43, 0.29]], [0, 1, 1]),
    "overlapping": (
        [[0.5, 0.5, 0.9, 0.8], [0.45, 0.52, 0.3, 0.2], [0.45, 0.52, 0.3, 0.2], [0.6, 0.6, 0.5, 0.5]],
        [1] * 4,
    ),
    "border-touching": (
        [[0.75, 0.875, 0.5, 0.25], [0.125, 0.25, 0.25, 0.5], [0.5, 0.5, 0.25, 1.0]],
        [0, 0, 1],
    ),
    "sub-cell": ([[0.31, 0.44, 0.01, 0.02], [0.52, 0.49, 0.05, 0.04], [0.8, 0.2, 0.0, 0.0]], [0, 1, 1]),
    "one image without": ([[0.3, 0.57, 0.2, 0.3]], [1]),
    "all images without": ([], []),
}


def make_boxes(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (M, 4) and image_index (M,) of a named kind, for a batch of two."""
    boxes, images = BOXES[kind]
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(images, dtype=torch.long)


def make_loss(student_channels: int, teacher_channels: int, **options) -> FGDLoss:
    """A loss whose zero-initialised layers are randomised, so that the relation term exercises them."""
    torch.manual_seed(3)
    loss = FGDLoss(student_channels, teacher_channels, **{**WEIGHTS, "free": False, **options})
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return loss


def make_maps(student_channels: int, teacher_channels: int, images: int = 2, grid=GRID, dtype=torch.float32):
    """A student map that requires a gradient, and a teacher map with another mean and variance."""
    torch.manual_seed(5)
    student_map = torch.randn(images, student_channels, *grid).to(dtype).requires_grad_()
    return student_map, (1.5 * torch.randn(images, teacher_channels, *grid) + 0.5).to(dtype)


def gradients(terms, tensors):
    """Gradient of the sum of terms for each tensor; the graph is retained."""
    return torch.autograd.grad(sum(terms), tensors, retain_graph=True)


def assert_agrees_with(reference, loss, term, student_map, teacher_map):
    """A term and its gradients for the student's map and every parameter equal those of a reference in float64.

    The reference takes the student's aligned map, the teacher's map and the parameters by name.
    """
    params = {name: value.detach().double().requires_grad_() for name, value in loss.named_parameters()}
    exact_map = student_map.detach().double().requires_grad_()
    wanted = reference(align(exact_map, params), teacher_map.double(), params)
    assert term.item() == pytest.approx(wanted.item(), rel=1e-5)
    actual_gradients = torch.autograd.grad(term, [student_map, *loss.parameters()])
    wanted_gradients = torch.autograd.grad(wanted, [exact_map, *params.values()])
    scale = max(gradient.abs().max() for gradient in wanted_gradients)
    for name, actual, exact in zip(["map", *params], actual_gradients, wanted_gradients, strict=True):
        largest = exact.abs().max()
        if largest < 1e-12 * scale:  # 0 but for rounding
            assert actual.abs().max() <= 1e-6 * scale, name
        else:
            assert (actual.double() - exact).abs().max() <= 1e-5 * largest, name
