"""Plain imitation."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods.fitnet import FitNetLoss
from unit.methods.cases import make_boxes, make_maps
from unit.methods.reference import align


@pytest.mark.parametrize("channels", [(3, 6), (4, 4), (6, 3)])
def test_term_is_the_weighted_mean_square_after_alignment(channels):
    loss = FitNetLoss(*channels, weight=0.6)
    student_map, teacher_map = make_maps(*channels)
    term = loss(student_map, teacher_map, *make_boxes("random")).imitation
    gap = align(student_map, dict(loss.named_parameters())) - teacher_map
    assert term.item() == pytest.approx(0.6 * sum(x * x for x in gap.flatten().tolist()) / gap.numel(), rel=1e-5)


def test_alignment_exists_only_if_widths_differ():
    assert FitNetLoss(4, 4).align is None and not list(FitNetLoss(4, 4).parameters())
    assert FitNetLoss(4, 5).align.weight.shape == (5, 4, 1, 1)


def test_weight_zero_gives_a_zero_without_gradient():
    student_map, teacher_map = make_maps(4, 4)
    term = FitNetLoss(4, 4, weight=0)(student_map, torch.full_like(teacher_map, torch.nan), *make_boxes("random"))
    assert term.imitation.item() == 0 and not term.imitation.requires_grad


def test_large_half_precision_maps_stay_finite_and_teacher_gets_no_gradient():
    student_map, teacher_map = make_maps(4, 6, dtype=torch.float16)
    student_map = (student_map.detach() * 5000).requires_grad_()
    teacher_map = (teacher_map * 5000).requires_grad_()
    with torch.autocast("cpu", dtype=torch.float16):
        term = FitNetLoss(4, 6)(student_map, teacher_map, *make_boxes("random")).imitation
    (1e-6 * term).backward()
    assert term.dtype == torch.float32 and term.isfinite() and student_map.grad.isfinite().all()
    assert teacher_map.grad is None


def test_different_grids_are_refused_naming_both():
    student_map, teacher_map = torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 4, 8)
    with pytest.raises(ValueError, match=r"\(2, 4, 8, 8\).*\(2, 4, 4, 8\)"):
        FitNetLoss(4, 4)(student_map, teacher_map, *make_boxes("random"))


def test_gradient_is_right_in_float64():
    student_map, teacher_map = make_maps(3, 5, grid=(3, 2), dtype=torch.float64)
    loss = FitNetLoss(3, 5).double()
    assert torch.autograd.gradcheck(
        lambda values: loss(values, teacher_map, *make_boxes("random")).imitation, student_map
    )
