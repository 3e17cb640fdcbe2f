"""Terms and gradients of the FGD loss against plain loops."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import standardisation
from unit.methods.cases import BOXES, GRID, WEIGHTS, gradients, make_boxes, make_loss, make_maps
from unit.methods.reference import fgd_terms

# Eight teacher channels: LayerNorm of only two or three hidden values leaves little but rounding in the
# gradient before it, in any implementation.
MIXES = [(3, 8), (8, 8), (12, 8), (1, 8), (4, 1)]
KEY_BIASES = {"student_context.key.bias", "teacher_context.key.bias"}


def expected(loss, student_map, teacher_map, boxes, image_index, weights=None):
    """Terms and gradients of the plain loops in float64: the student map's, then each parameter's."""
    params = {name: value.detach().double().requires_grad_() for name, value in loss.named_parameters()}
    student_map = student_map.detach().double().requires_grad_()
    weights = list(weights or WEIGHTS.values())
    terms = fgd_terms(student_map, teacher_map.double(), boxes, image_index, params, weights, loss.temperature)
    return terms, gradients(terms, [student_map, *params.values()])


def largest_relative_error(actual, wanted):
    return ((actual.double() - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("channels", MIXES, ids=str)
@pytest.mark.parametrize("kind", BOXES)
def test_terms_and_gradients_equal_the_plain_loops(kind, channels):
    loss, maps, boxes = make_loss(*channels), make_maps(*channels), make_boxes(kind)
    terms = loss(*maps, *boxes)
    wanted_terms, wanted_gradients = expected(loss, *maps, *boxes)
    for name, term, wanted in zip(terms._fields, terms, wanted_terms, strict=True):
        assert term.item() == pytest.approx(wanted.item(), rel=1e-5), name
    names, tensors = zip(*loss.named_parameters(), strict=True)
    actual_gradients = gradients(terms, [maps[0], *tensors])
    scale = max(wanted.abs().max() for wanted in wanted_gradients)
    for name, actual, wanted in zip(["student map", *names], actual_gradients, wanted_gradients, strict=True):
        if name in KEY_BIASES or wanted.abs().max() < 1e-12 * scale:  # the softmax ignores a bias: exactly 0
            assert actual.abs().max() <= 1e-6 * scale, name
        else:
            assert largest_relative_error(actual, wanted) <= 1e-5, name


@pytest.mark.parametrize("offset", [100.0, -100.0])
def test_relation_stays_exact_when_the_contexts_have_closed_a_large_gap(offset):
    """sum d^2 is then 3000 times the term, and its textbook expansion would lose four of seven digits."""
    loss = make_loss(4, 4, fg_weight=0, bg_weight=0, attn_weight=0)
    student_map, teacher_map = make_maps(4, 4)
    student_map = (student_map.detach() + offset).requires_grad_()
    with torch.no_grad():
        gap = loss.teacher_context(teacher_map) - loss.student_context(student_map)
        loss.student_context.transform[-1].bias += gap.mean(dim=(0, 2, 3))
    terms = loss(student_map, teacher_map, *make_boxes("random"))
    wanted_terms, wanted_gradients = expected(loss, student_map, teacher_map, *make_boxes("random"), [0, 0, 0, 0.03])
    assert terms.rel.item() == pytest.approx(wanted_terms[3].item(), rel=1e-5)
    assert largest_relative_error(gradients(terms, [student_map])[0], wanted_gradients[0]) <= 1e-5


@pytest.mark.parametrize("free", [False, True], ids=["paper", "free"])
@pytest.mark.parametrize("channels", [(2, 3), (3, 3)], ids=str)
def test_gradients_are_right_in_float64(channels, free):
    loss = make_loss(*channels, free=free).double()
    student_map, teacher_map = make_maps(*channels, grid=(3, 2), dtype=torch.float64)
    parameters = [parameter.detach().clone().requires_grad_() for parameter in loss.parameters()]
    names = [name for name, _ in loss.named_parameters()]

    def run(student_map, *values):
        replaced = dict(zip(names, values, strict=True))
        return tuple(torch.func.functional_call(loss, replaced, (student_map, teacher_map, *make_boxes("random"))))

    assert torch.autograd.gradcheck(run, (student_map, *parameters))


@pytest.mark.parametrize("free", [False, True], ids=["paper", "free"])
@pytest.mark.parametrize("channels_at_once", [1, 3])
def test_blocks_of_channels_change_nothing(channels_at_once, free, monkeypatch):
    loss, maps, boxes = make_loss(3, 8, free=free), make_maps(3, 8), make_boxes("random")
    ignored = KEY_BIASES | ({"align.bias"} if free else set())  # a standardised channel has no offset either
    tensors = [maps[0], *(value for name, value in loss.named_parameters() if name not in ignored)]
    unsplit = loss(*maps, *boxes)
    wanted = gradients(unsplit, tensors)
    monkeypatch.setattr(standardisation, "BLOCK_VALUES", channels_at_once * 2 * GRID[0] * GRID[1])
    split = loss(*maps, *boxes)
    for term, other in zip(split, unsplit, strict=True):
        assert term.item() == pytest.approx(other.item(), rel=1e-6)
    for actual, other in zip(gradients(split, tensors), wanted, strict=True):
        assert largest_relative_error(actual, other) <= 1e-5
