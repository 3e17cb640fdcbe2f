"""Switches, types, symmetries and refusals of the FGD loss; its formulas are in test_fgd_formulas.py."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import FGDLoss, FGDTerms
from unit.methods.cases import WEIGHTS, gradients, make_boxes, make_loss, make_maps
from unit.methods.reference import attentions, paint


@pytest.mark.parametrize("off", range(1, 16))
def test_any_set_of_terms_switches_off_without_affecting_the_others(off):
    weights = {name: 0.0 if off >> index & 1 else value for index, (name, value) in enumerate(WEIGHTS.items())}
    maps, boxes = make_maps(3, 6), make_boxes("random")
    full, part = make_loss(3, 6)(*maps, *boxes), make_loss(3, 6, **weights)(*maps, *boxes)
    for weight, full_term, term in zip(weights.values(), full, part, strict=True):
        assert term.item() == (pytest.approx(full_term.item(), rel=1e-6) if weight else 0.0)
        assert term.requires_grad == bool(weight) and term.dtype == torch.float32
    if any(weights.values()):
        enabled = [term for weight, term in zip(weights.values(), full, strict=True) if weight]
        wanted = gradients(enabled, maps[:1])[0]
        assert torch.allclose(gradients(part, maps[:1])[0], wanted, rtol=1e-4, atol=1e-6 * wanted.abs().max())


def test_switched_off_terms_are_not_computed():
    student_map, teacher_map = make_maps(4, 4)
    poisoned = torch.full_like(teacher_map, torch.nan)
    terms = make_loss(4, 4, **dict.fromkeys(WEIGHTS, 0.0))(student_map, poisoned, *make_boxes("random"))
    assert [term.item() for term in terms] == [0, 0, 0, 0]
    loss = make_loss(4, 4, rel_weight=0)
    loss.student_context = loss.teacher_context = None
    assert sum(loss(student_map, teacher_map, *make_boxes("random"))).isfinite()


def test_equal_maps_give_zero():
    loss = FGDLoss(4, 4, **WEIGHTS, free=False)
    teacher_map = make_maps(4, 4)[1]
    terms = loss(teacher_map.clone().requires_grad_(), teacher_map, *make_boxes("random"))
    assert [term.item() for term in terms] == [0, 0, 0, 0]


def test_alignment_exists_only_if_widths_differ():
    assert FGDLoss(4, 4, **WEIGHTS, free=False).align is None
    assert FGDLoss(4, 5, **WEIGHTS, free=False).align.weight.shape == (5, 4, 1, 1)


def test_terms_are_averages_over_images_whatever_their_order():
    loss, (student_map, teacher_map) = make_loss(3, 6), make_maps(3, 6, images=3)
    boxes, image_index = torch.rand(7, 4) * 0.4 + 0.2, torch.tensor([0, 0, 1, 1, 1, 2, 2])
    terms = loss(student_map, teacher_map, boxes, image_index)
    order, place = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    shuffled = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    moved = loss(student_map[order], teacher_map[order], boxes[shuffled], place[image_index[shuffled]])
    for term, other in zip(terms, moved, strict=True):
        assert term.item() == pytest.approx(other.item(), rel=1e-6)
    single = [
        loss(
            student_map[i : i + 1],
            teacher_map[i : i + 1],
            boxes[image_index == i],
            0 * image_index[image_index == i],
        )
        for i in range(3)
    ]
    for term, parts in zip(terms, zip(*single, strict=True), strict=True):
        assert term.item() == pytest.approx(sum(part.item() for part in parts) / 3, rel=1e-5)


def test_equal_attention_reduces_the_foreground_to_a_weighted_square():
    student_map, teacher_map = make_maps(4, 4, images=1)
    boxes = torch.tensor([[0.4, 0.57, 0.5, 0.3]])
    term = make_loss(4, 4, temperature=1e9)(student_map, teacher_map, boxes, torch.tensor([0])).fg
    mask = torch.tensor(paint(boxes.tolist(), *student_map.shape[2:]))
    assert term.item() == pytest.approx(0.7 * ((student_map - teacher_map) ** 2 * mask).sum().item(), rel=1e-4)


def test_image_without_boxes_has_no_foreground_and_is_all_background():
    maps = make_maps(4, 4, images=1)
    terms = make_loss(4, 4, temperature=1e9)(*maps, *make_boxes("all images without"))
    square = (maps[0] - maps[1]).square().sum().item()
    assert terms.fg.item() == 0
    assert terms.bg.item() == pytest.approx(0.4 * square / (8 * 4), rel=1e-4)


def test_temperature_reaches_both_attentions():
    maps, boxes = make_maps(4, 4, images=1), make_boxes("all images without")
    distance = 0
    for own, other in zip(*(attentions(values[0].detach().double(), 0.8) for values in maps), strict=True):
        own, other = (torch.tensor(part) for part in (own, other))
        distance += (own - other).abs().sum().item()
    term = make_loss(4, 4, temperature=0.8)(*maps, *boxes).attn
    assert term.item() == pytest.approx(0.2 * distance, rel=1e-5)


def test_teacher_gets_no_gradient_and_both_context_blocks_do():
    loss, (student_map, teacher_map) = make_loss(3, 6), make_maps(3, 6)
    teacher_map.requires_grad_()
    sum(loss(student_map, teacher_map, *make_boxes("random"))).backward()
    assert teacher_map.grad is None
    for block in (loss.align, loss.student_context.transform, loss.teacher_context.transform):
        assert all(parameter.grad.abs().max() > 0 for parameter in block.parameters())
    for block in (loss.student_context, loss.teacher_context):
        assert block.key.weight.grad.abs().max() > 0


def test_gradient_can_be_measured_before_the_backward_pass():
    loss, maps, boxes = make_loss(3, 6), make_maps(3, 6), make_boxes("random")
    total = sum(loss(*maps, *boxes))
    measured = torch.autograd.grad(total, maps[0], retain_graph=True)[0]
    again = torch.autograd.grad(total, maps[0], retain_graph=True)[0]
    total.backward()
    assert torch.equal(measured, again) and torch.equal(measured, maps[0].grad)


def test_second_derivatives_are_refused():
    maps = make_maps(4, 4)
    total = sum(make_loss(4, 4)(*maps, *make_boxes("random")))
    first = torch.autograd.grad(total, maps[0], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("lower", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(lower):
    loss, maps, boxes = make_loss(3, 6), make_maps(3, 6), make_boxes("random")
    plain = loss(*maps, *boxes)
    wanted = gradients(plain, [maps[0], *loss.parameters()])
    with torch.autocast("cpu", dtype=lower):
        mixed = loss(*maps, *boxes)
        inside = gradients(mixed, [maps[0]])
    actual = gradients(mixed, [maps[0], *loss.parameters()])
    assert torch.equal(inside[0], wanted[0])
    assert all(term.dtype == torch.float32 for term in mixed)
    assert all(torch.equal(term, other) for term, other in zip(mixed, plain, strict=True))
    assert all(torch.equal(gradient, other) for gradient, other in zip(actual, wanted, strict=True))


@pytest.mark.parametrize("lower", [torch.float16, torch.bfloat16])
def test_maps_of_lower_precision_are_summed_in_float32(lower):
    """With values of thousands every sum of squares is far beyond float16's 65504."""
    student_map, teacher_map = make_maps(3, 6, dtype=lower)
    student_map, teacher_map = (3000 * student_map.detach()).requires_grad_(), 3000 * teacher_map
    loss, boxes = make_loss(3, 6, **{name: 1e-9 for name in WEIGHTS}), make_boxes("random")
    with torch.autocast("cpu", dtype=lower):
        terms = loss(student_map, teacher_map, *boxes)
    sum(terms).backward()
    wanted = loss(student_map.detach().float(), teacher_map.float(), *boxes)
    assert all(torch.equal(term, other) and term.isfinite() for term, other in zip(terms, wanted, strict=True))
    assert student_map.grad.dtype == lower and student_map.grad.isfinite().all()


def test_float64_stays_float64():
    terms = make_loss(3, 6).double()(*make_maps(3, 6, dtype=torch.float64), *make_boxes("random"))
    assert all(term.dtype == torch.float64 for term in terms)


def test_channels_last_maps_give_the_same_terms():
    loss, (student_map, teacher_map), boxes = make_loss(3, 6), make_maps(3, 6), make_boxes("random")
    plain = loss(student_map, teacher_map, *boxes)
    last = [values.to(memory_format=torch.channels_last) for values in (student_map, teacher_map)]
    for term, other in zip(loss(*last, *boxes), plain, strict=True):
        assert term.item() == pytest.approx(other.item(), rel=1e-5)


def test_different_grids_are_refused_naming_both():
    with pytest.raises(ValueError, match=r"\(2, 4, 8, 8\).*\(2, 4, 4, 8\)"):
        make_loss(4, 4)(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 4, 8), *make_boxes("random"))


def test_terms_carry_the_names_of_the_contract():
    assert FGDTerms._fields == ("fg", "bg", "attn", "rel")


def test_the_relation_term_trains_the_zero_initialised_convolutions_of_both_context_blocks():
    loss = FGDLoss(4, 6, **WEIGHTS, free=True)
    trained = loss.trained_weights("rel_loss")
    assert list(trained) == ["alignment", "student context block", "teacher context block"]
    assert not trained["student context block"].any() and not trained["teacher context block"].any()
    assert list(loss.trained_weights("fg_loss")) == ["alignment"]


@pytest.mark.parametrize("size", [1.0, 0.6])
def test_only_the_background_is_empty_where_boxes_fill_every_cell(size):
    loss, boxes = FGDLoss(4, 4, **WEIGHTS, free=True), torch.tensor([[0.5, 0.5, size, size]] * 2)
    empty = {item: loss.is_empty(item, boxes, torch.tensor([0, 1]), 2, (8, 8)) for item in ("fg_loss", "bg_loss")}
    assert empty == {"fg_loss": False, "bg_loss": size == 1.0}


def test_a_painted_foreground_replaces_the_boxes():
    maps = make_maps(4, 4)
    painted = torch.zeros(2, *maps[0].shape[2:])
    painted[0, 2:5, 1], painted[1, 0, 3] = 0.25, 1.0
    terms = make_loss(4, 4, temperature=1e9)(*maps, *make_boxes("random"), painted)
    square = (maps[0] - maps[1]).square().sum(dim=1)
    outside = torch.stack([(own == 0) / (own == 0).sum() for own in painted])
    assert terms.fg.item() == pytest.approx(0.7 * (square * painted).sum().item() / 2, rel=1e-4)
    assert terms.bg.item() == pytest.approx(0.4 * (square * outside).sum().item() / 2, rel=1e-4)
    rotated = torch.rand(3, 5), torch.tensor([0, 0, 1])
    assert make_loss(4, 4, temperature=1e9)(*maps, *rotated, painted.half()) == terms, "boxes are not looked at"


@pytest.mark.parametrize("shape", [(2, 4, 8), (1, 8, 4), (2, 1, 8, 4)])
def test_a_foreground_of_another_shape_is_refused(shape):
    loss, boxes = make_loss(4, 4), make_boxes("random")
    with pytest.raises(ValueError, match=r"foreground must be \(2, 8, 4\) on this level, got \(" + str(shape[0])):
        loss(*make_maps(4, 4), *boxes, torch.zeros(shape))
    with pytest.raises(ValueError, match="foreground must be"):
        loss.is_empty("bg_loss", *boxes, 2, (8, 4), torch.zeros(shape))


@pytest.mark.parametrize(("value", "empty"), [(0.0, "fg_loss"), (0.5, "bg_loss"), (None, None)])
def test_the_painted_foreground_says_which_term_is_empty(value, empty):
    loss, boxes = FGDLoss(4, 4, **WEIGHTS, free=True), (torch.tensor([[0.5, 0.5, 1.0, 1.0]] * 2), torch.tensor([0, 1]))
    painted = torch.zeros(2, 8, 8) if value is None else torch.full((2, 8, 8), value)
    painted[0, 0, 0] = 0.5 if value is None else painted[0, 0, 0]
    items = ("fg_loss", "bg_loss", "attn_loss", "rel_loss")
    assert [item for item in items if loss.is_empty(item, *boxes, 2, (8, 8), painted)] == [empty] * bool(empty)
