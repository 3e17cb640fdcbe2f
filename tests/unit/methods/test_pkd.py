"""Distillation by Pearson's correlation against plain loops."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods.pkd import PKDLoss
from unit.methods.cases import assert_agrees_with, make_boxes, make_maps

BOXES = make_boxes("random")
EPSILON = 1e-5


def standardise(values):
    """The values of one channel with mean 0 and variance 1, in a list."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return [(value - mean) / (variance + EPSILON) ** 0.5 for value in values]


def channel_of(feature_map, channel):
    """All cells of all images of a channel, in a list."""
    images, _, height, width = feature_map.shape
    return [feature_map[b, channel, y, x] for b in range(images) for y in range(height) for x in range(width)]


def reference(student_map, teacher_map, params):
    """Half of the mean squared difference of the standardised maps, by loops over channels and cells."""
    total = 0
    for channel in range(teacher_map.shape[1]):
        own, wanted = (standardise(channel_of(feature_map, channel)) for feature_map in (student_map, teacher_map))
        total = total + sum((s - t) ** 2 for s, t in zip(own, wanted, strict=True))
    return total / teacher_map.numel() / 2


@pytest.mark.parametrize("channels", [(3, 6), (4, 4)], ids=str)
def test_term_and_gradients_equal_the_plain_loops(channels):
    torch.manual_seed(3)
    loss, maps = PKDLoss(*channels, weight=0.6), make_maps(*channels, grid=(4, 3))
    term = loss(*maps, *BOXES).correlation
    assert_agrees_with(lambda *given: 0.6 * reference(*given), loss, term, *maps)


def test_the_term_is_one_less_the_mean_correlation_of_the_channels():
    student_map, teacher_map = make_maps(4, 4)
    own, wanted = (feature_map.transpose(0, 1).flatten(1) for feature_map in (student_map.detach(), teacher_map))
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in zip(own, wanted, strict=True)]
    term = PKDLoss(4, 4)(student_map, teacher_map, *BOXES).correlation
    assert term.item() == pytest.approx(1 - sum(correlations) / 4, rel=1e-4)  # 1e-5 is added to the variance


def test_the_term_of_the_authors_is_smaller_by_their_unbiased_variance():
    student_map, teacher_map = make_maps(4, 4)

    def unbiased(feature_map):
        variance, mean = torch.var_mean(feature_map, dim=(0, 2, 3), keepdim=True, correction=1)
        return (feature_map - mean) / (variance.sqrt() + 1e-6)

    authors = (unbiased(student_map) - unbiased(teacher_map)).square().mean() / 2
    term = PKDLoss(4, 4)(student_map, teacher_map, *BOXES).correlation
    cells = 2 * 8 * 4
    assert authors.item() == pytest.approx(term.item() * (1 - 1 / cells), rel=1e-4)


def test_a_factor_and_a_constant_for_each_channel_change_nothing():
    loss, (student_map, teacher_map) = PKDLoss(4, 4), make_maps(4, 4)
    term = loss(student_map, teacher_map, *BOXES).correlation.item()
    factor = torch.tensor([30.0, 1.0, 0.2, 5.0]).view(1, 4, 1, 1)
    assert loss(factor * student_map - 3, factor * teacher_map + 7, *BOXES).correlation.item() == pytest.approx(
        term, rel=1e-3
    )


@pytest.mark.parametrize(("sign", "wanted"), [(2.0, 0.0), (-2.0, 2.0)])
def test_agreement_is_0_and_opposition_is_2(sign, wanted):
    student_map, _ = make_maps(4, 4)
    term = PKDLoss(4, 4)(student_map, sign * student_map.detach() + 1, *BOXES).correlation
    assert term.item() == pytest.approx(wanted, abs=1e-4)


def test_a_constant_channel_of_the_teacher_sends_no_infinite_gradient():
    student_map, teacher_map = make_maps(4, 4)
    teacher_map[:, 1] = 3.0
    (gradient,) = torch.autograd.grad(PKDLoss(4, 4)(student_map, teacher_map, *BOXES).correlation, student_map)
    assert gradient.isfinite().all()


def test_the_gradient_is_right_in_float64():
    student_map, teacher_map = make_maps(3, 5, grid=(3, 2), dtype=torch.float64)
    loss = PKDLoss(3, 5).double()
    assert torch.autograd.gradcheck(lambda values: loss(values, teacher_map, *BOXES).correlation, student_map)
