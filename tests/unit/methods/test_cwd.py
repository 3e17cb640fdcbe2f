"""Channel-wise distillation against plain loops."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from fgd_yolo.methods.cwd import CWDLoss, CWDOptions
from unit.methods.cases import make_boxes, make_maps
from unit.methods.reference import align

BOXES = make_boxes("random")


def distribution(values: list[float], temperature: float) -> list[float]:
    """Softmax of one channel's cells."""
    largest = max(values)
    powers = [exp((value - largest) / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def reference(student_map, teacher_map, temperature: float) -> float:
    """The term by loops over images, channels and cells."""
    total = 0.0
    for student_image, teacher_image in zip(student_map.flatten(2), teacher_map.flatten(2), strict=True):
        for student_channel, teacher_channel in zip(student_image, teacher_image, strict=True):
            student = distribution(student_channel.tolist(), temperature)
            teacher = distribution(teacher_channel.tolist(), temperature)
            total += sum(q * (log(q) - log(p)) for p, q in zip(student, teacher, strict=True))
    return temperature**2 * total / (len(teacher_map) * teacher_map.shape[1])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("channels", [(3, 6), (4, 4), (6, 3)])
def test_the_term_equals_the_plain_loops(channels, temperature):
    loss = CWDLoss(*channels, temperature=temperature, weight=0.6)
    student_map, teacher_map = make_maps(*channels)
    aligned = align(student_map, dict(loss.named_parameters()))
    expected = 0.6 * reference(aligned.double(), teacher_map.double(), temperature)
    assert loss(student_map, teacher_map, *BOXES).channel.item() == pytest.approx(expected, rel=1e-5)


def test_two_cells_equal_the_value_computed_by_hand():
    """Student (1/2, 1/2), teacher (3/4, 1/4) at T = 2: 4 * (3/4 log 3/2 + 1/4 log 1/2), in one channel of one image."""
    student_map, teacher_map = torch.zeros(1, 1, 1, 2), torch.tensor([[[[2 * log(3), 0.0]]]])
    boxes = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    term = CWDLoss(1, 1, temperature=2.0)(student_map, teacher_map, *boxes).channel
    assert term.item() == pytest.approx(4 * (0.75 * log(1.5) + 0.25 * log(0.5)), rel=1e-5)


def test_adding_a_constant_to_a_channel_changes_nothing_but_moving_its_cells_does():
    loss, (student_map, teacher_map) = CWDLoss(4, 4, temperature=4.0), make_maps(4, 4)
    shift = torch.tensor([1.0, -2.0, 30.0, 0.0]).view(1, 4, 1, 1)
    term = loss(student_map, teacher_map, *BOXES).channel.item()
    assert loss(student_map + shift, teacher_map, *BOXES).channel.item() == pytest.approx(term, rel=1e-4)
    assert loss(student_map.flip(3), teacher_map, *BOXES).channel.item() != pytest.approx(term, rel=1e-2)


def test_repeating_images_and_channels_changes_nothing():
    loss = CWDLoss(4, 4, temperature=4.0)
    student_map, teacher_map = make_maps(4, 4)
    term = loss(student_map, teacher_map, *BOXES).channel.item()
    images = [torch.cat([one, one]) for one in (student_map, teacher_map)]
    assert loss(*images, *BOXES).channel.item() == pytest.approx(term, rel=1e-5)
    channels = [torch.cat([one, one], dim=1) for one in (student_map, teacher_map)]
    assert loss(*channels, *BOXES).channel.item() == pytest.approx(term, rel=1e-5)


def test_the_authors_temperature_is_the_default():
    assert CWDOptions().channel_temperature == 4.0
    assert CWDLoss.from_options(3, 5, CWDOptions(channel_temperature=2.0)).temperature == 2.0


def test_the_gradient_is_right_in_float64():
    student_map, teacher_map = make_maps(3, 5, grid=(3, 2), dtype=torch.float64)
    loss = CWDLoss(3, 5, temperature=4.0).double()
    assert torch.autograd.gradcheck(lambda values: loss(values, teacher_map, *BOXES).channel, student_map)
