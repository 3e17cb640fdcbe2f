"""The scale-free terms: against plain loops, and independent of scale, width and resolution."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.methods import FGDLoss
from unit.methods.cases import BOXES, WEIGHTS, gradients, make_boxes, make_loss, make_maps
from unit.methods.reference import align, attentions, in_context, paint, share_out


def plain_standardised(maps):
    """Every channel of the batch less its mean, over its standard deviation."""
    rows = []
    for c in range(maps.shape[1]):
        values = maps[:, c]
        mean = values.sum() / values.numel()
        rows.append((values - mean) / (((values - mean) ** 2).sum() / values.numel() + 1e-5).sqrt())
    return torch.stack(rows, dim=1)


def plain_terms(student_maps, teacher_maps, boxes, image_index, params, weights):
    """Return [fg, bg, attn, rel] by loops: weighted means of the standardised maps' differences."""
    student_maps, teacher_maps = plain_standardised(align(student_maps, params)), plain_standardised(teacher_maps)
    images, channels, height, width = student_maps.shape
    squares, masses, attention_gap, context_gap = [0.0, 0.0], [0.0, 0.0], 0.0, 0.0
    for image in range(images):
        student, teacher = student_maps[image], teacher_maps[image]
        image_boxes = [box for box, owner in zip(boxes.tolist(), image_index.tolist(), strict=True) if owner == image]
        foreground = paint(image_boxes, height, width)
        masks = [foreground, share_out(foreground)]
        (spatial, channel), (own_spatial, own_channel) = attentions(teacher, 0.5), attentions(student, 0.5)
        for y in range(height):
            for x in range(width):
                teacher_weight = min(spatial[y][x], 10)
                square = sum(min(channel[c], 10) * (student[c, y, x] - teacher[c, y, x]) ** 2 for c in range(channels))
                for kind, mask in enumerate(masks):
                    squares[kind] = squares[kind] + mask[y][x] * teacher_weight * square
                    masses[kind] = masses[kind] + mask[y][x] * teacher_weight
                student_weight = min(own_spatial[y][x], 10)
                attention_gap = attention_gap + abs(student_weight - teacher_weight) / (images * height * width)
        for c in range(channels):
            attention_gap = attention_gap + abs(min(own_channel[c], 10) - min(channel[c], 10)) / (images * channels)
        gap = in_context(student, params, "student_context.") - in_context(teacher, params, "teacher_context.")
        context_gap = context_gap + (gap**2).sum() / student_maps.numel()
    focal = [square / (channels * mass) if mass else square * 0 for square, mass in zip(squares, masses, strict=True)]
    return [weight * term for weight, term in zip(weights, [*focal, attention_gap, context_gap], strict=True)]


@pytest.mark.parametrize("channels", [(3, 8), (8, 8)], ids=str)
@pytest.mark.parametrize("kind", BOXES)
def test_terms_and_the_maps_gradient_equal_the_plain_loops(kind, channels):
    loss, (student_map, teacher_map), boxes = make_loss(*channels, free=True), make_maps(*channels), make_boxes(kind)
    terms = loss(student_map, teacher_map, *boxes)
    params = {name: value.detach().double() for name, value in loss.named_parameters()}
    exact = student_map.detach().double().requires_grad_()
    wanted = plain_terms(exact, teacher_map.double(), *boxes, params, WEIGHTS.values())
    for name, term, value in zip(terms._fields, terms, wanted, strict=True):
        assert term.item() == pytest.approx(value.item(), rel=1e-5), name
    actual, expected = gradients(terms, [student_map])[0], gradients(wanted, [exact])[0]
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_scale_and_offset_of_a_channel_do_not_matter():
    loss = FGDLoss(6, 6, **WEIGHTS, free=True)
    (student_map, teacher_map), boxes = make_maps(6, 6), make_boxes("random")
    terms = loss(student_map, teacher_map, *boxes)
    sizes = torch.logspace(0, 3, 6).view(1, 6, 1, 1)
    scaled = loss(3 * student_map + 7, sizes * teacher_map - 2, *boxes)
    for term, other in zip(terms, scaled, strict=True):
        assert term.item() == pytest.approx(other.item(), rel=1e-3)


def test_width_and_resolution_do_not_matter():
    loss = FGDLoss(4, 4, **{**WEIGHTS, "rel_weight": 1.0}, free=True)
    wide = FGDLoss(8, 8, **{**WEIGHTS, "rel_weight": 1.0}, free=True)
    student_map, teacher_map = make_maps(4, 4, grid=(16, 16))
    none = make_boxes("all images without")
    terms = loss(student_map, teacher_map, *none)
    doubled = wide(*(maps.repeat(1, 2, 1, 1) for maps in (student_map, teacher_map)), *none)
    finer = loss(*(maps.repeat_interleave(2, 2).repeat_interleave(2, 3) for maps in (student_map, teacher_map)), *none)
    for name, term, other, fine in zip(terms._fields, terms, doubled, finer, strict=True):
        assert term.item() == pytest.approx(other.item(), rel=1e-4), name
        assert term.item() == pytest.approx(fine.item(), rel=1e-4), name


def test_a_few_outlier_cells_do_not_take_all_the_attention():
    """One cell at 1000 times the others: its weight is bounded, so another cell's difference still counts."""
    loss = FGDLoss(4, 4, fg_weight=0, bg_weight=1, attn_weight=0, rel_weight=0, free=True)
    teacher_map = make_maps(4, 4, images=1, grid=(20, 20))[1]
    teacher_map[:, :, 3, 3] = 1000
    student_map = teacher_map.clone()
    student_map[:, :, 10, 10] += 0.01 * teacher_map.std()
    elsewhere = loss(student_map.requires_grad_(), teacher_map, *make_boxes("all images without")).bg
    (gradient,) = torch.autograd.grad(elsewhere, student_map)
    assert gradient[0, :, 10, 10].abs().max() > 0.01 * gradient.abs().max() > 0


def test_maps_that_cannot_be_standardised_give_finite_terms():
    loss = FGDLoss(4, 4, **WEIGHTS, free=True)
    none = make_boxes("all images without")
    single = torch.rand(1, 4, 1, 1, requires_grad=True)
    terms = [*loss(single, torch.rand(1, 4, 1, 1), *none), *loss(torch.ones(2, 4, 4, 4), torch.rand(2, 4, 4, 4), *none)]
    assert all(term.isfinite() for term in terms)
