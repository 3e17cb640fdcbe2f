"""Masked generative distillation against plain loops, and its masks."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from fgd_yolo.config.method_options import MGDOptions
from fgd_yolo.methods.mgd import MGDLoss, kept_cells
from fgd_yolo.training.checkpoints import SIDE, read_side_file, write_side_file
from unit.methods.cases import assert_agrees_with, make_boxes, make_maps

BOXES = make_boxes("random")


def convolve(feature_map, weight, bias):
    """A 3x3 convolution with a border of zeros, cell by cell, of one image (C, H, W)."""
    height, width = feature_map.shape[1:]
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            cell = bias
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        cell = cell + weight[:, :, dy + 1, dx + 1] @ feature_map[:, y + dy, x + dx]
            row.append(cell)
        rows.append(torch.stack(row, dim=1))
    return torch.stack(rows, dim=1)


def reference(student_map, teacher_map, params, kept):
    """The mean squared difference of the generated map by loops over images, cells and channels."""
    first, last = ((params[f"generation.{index}.weight"], params[f"generation.{index}.bias"]) for index in (0, 2))
    total = 0
    for student, teacher, cells in zip(student_map, teacher_map, kept, strict=True):
        hidden = convolve(student * cells, *first)
        generated = convolve(torch.where(hidden > 0, hidden, 0 * hidden), *last)
        for c in range(len(teacher)):
            for y in range(teacher.shape[1]):
                for x in range(teacher.shape[2]):
                    total = total + (generated[c, y, x] - teacher[c, y, x]) ** 2
    return total / teacher_map.numel()


def mask_of_next_call(loss, maps):
    """The cells that the next call of a loss keeps."""
    return kept_cells(len(maps[0]), maps[0].shape[2:], loss.mask_ratio, deepcopy(loss.masks))


@pytest.mark.parametrize("mask_ratio", [0.0, 0.65])
@pytest.mark.parametrize("channels", [(3, 5), (4, 4)], ids=str)
def test_term_and_gradients_equal_the_plain_loops(channels, mask_ratio):
    torch.manual_seed(3)
    loss, maps = MGDLoss(*channels, mask_ratio=mask_ratio, weight=0.6), make_maps(*channels)
    kept = mask_of_next_call(loss, maps)
    assert kept.all() if mask_ratio == 0 else kept.any() and not kept.all()
    term = loss(*maps, *BOXES).generation
    assert_agrees_with(lambda *given: 0.6 * reference(*given, kept), loss, term, *maps)


def test_whole_cells_are_masked_with_the_given_probability_in_every_image_anew():
    kept = kept_cells(2, (100, 50), 0.65, torch.Generator().manual_seed(0))
    assert kept.shape == (2, 1, 100, 50) and not kept[0].equal(kept[1])
    assert kept.float().mean().item() == pytest.approx(0.35, abs=0.01)  # two standard deviations


def test_one_cell_of_every_image_is_kept_however_small_the_grid():
    kept = kept_cells(500, (2, 2), 0.95, torch.Generator().manual_seed(0))
    assert kept.flatten(1).any(dim=1).all() and kept.flatten(1).sum(dim=1).float().mean() < 1.2


def test_a_masked_cell_reaches_the_term_only_through_its_neighbours():
    loss, maps = MGDLoss(4, 4, mask_ratio=0.65), make_maps(4, 4)
    kept = mask_of_next_call(loss, maps)
    (gradient,) = torch.autograd.grad(loss(*maps, *BOXES).generation, maps[0])
    assert torch.equal(gradient.abs().sum(dim=1, keepdim=True) > 0, kept)


def test_every_call_has_another_mask_and_leaves_the_random_state_of_torch_as_it_was():
    loss, maps = MGDLoss(4, 4, mask_ratio=0.65), make_maps(4, 4)
    before = torch.get_rng_state()
    first, second = (loss(*maps, *BOXES).generation for _ in range(2))
    assert first != second
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_before_the_module_is_built_makes_its_masks_reproducible():
    terms = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        loss = MGDLoss(4, 4, mask_ratio=0.65)
        with torch.no_grad():
            for parameter in loss.parameters():
                parameter.fill_(0.1)
        terms.append(loss(*make_maps(4, 4), *BOXES).generation.item())
    assert terms[0] == terms[1] != terms[2]


def test_a_state_that_is_restored_from_a_side_file_goes_on_with_the_next_mask(tmp_path):
    loss, maps = MGDLoss(3, 5, mask_ratio=0.65), make_maps(3, 5)
    loss(*maps, *BOXES)
    write_side_file(tmp_path, {"losses": loss.state_dict(), "epoch": 0, "teacher": "", "options": {}})
    wanted = loss(*maps, *BOXES).generation
    other = MGDLoss(3, 5, mask_ratio=0.65)
    other.load_state_dict(read_side_file(tmp_path / SIDE)["losses"])
    assert torch.equal(other(*maps, *BOXES).generation, wanted)


def test_the_generation_block_has_the_width_of_the_teacher_and_is_trained():
    loss = MGDLoss(3, 5, mask_ratio=0.65)
    assert [tuple(layer.weight.shape) for layer in loss.generation[::2]] == [(5, 5, 3, 3)] * 2
    assert loss.trained_weights("generation_loss") == {
        "alignment": loss.align.weight,
        "generation block": loss.generation[0].weight,
    }


def test_the_share_of_masked_cells_of_the_paper_is_the_default():
    assert MGDOptions().mask_ratio == 0.65
    assert MGDLoss.from_options(3, 5, MGDOptions(mask_ratio=0.45)).mask_ratio == 0.45


def test_the_gradient_is_right_in_float64():
    student_map, teacher_map = make_maps(3, 4, grid=(3, 2), dtype=torch.float64)
    loss = MGDLoss(3, 4, mask_ratio=0.4).double()
    state = loss.masks.get_state()

    def with_one_mask(values):
        loss.masks.set_state(state)
        return loss(values, teacher_map, *BOXES).generation

    assert torch.autograd.gradcheck(with_one_mask, student_map)
