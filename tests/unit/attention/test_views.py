"""What is drawn are the very attentions and masks of the loss."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from fgd_yolo.attention.views import Lens, view_level
from fgd_yolo.methods.attention_maps import attention
from fgd_yolo.methods.box_masks import background_weights, foreground_weights

PAPER, FREE = Lens(0.5, "paper"), Lens(0.5, "free")


def test_attention_is_that_of_the_loss_with_the_student_aligned(seen):
    for number, view in enumerate(seen.views):
        focus = attention(seen.teacher[number], 0.5)
        np.testing.assert_array_equal(view.teacher, focus.spatial[0])
        for name, maps in seen.students.items():
            mine = attention(seen.aligns[number](maps[number]).detach(), 0.5)
            np.testing.assert_array_equal(view.students[name], mine.spatial[0])
            np.testing.assert_array_equal(view.channel_gaps[name], (mine.channel - focus.channel).abs()[0])


def test_masks_are_those_of_the_loss(seen):
    index = torch.zeros(2, dtype=torch.long)
    for view in seen.views:
        foreground = foreground_weights(seen.photo.boxes, index, 1, (64 // view.stride,) * 2)
        np.testing.assert_array_equal(view.inside, foreground[0] > 0)
        np.testing.assert_array_equal(view.size_weight, (foreground + background_weights(foreground))[0])
        assert view.size_weight.min() > 0, "every cell has a weight"


def test_an_image_without_boxes_is_all_background(seen):
    view = view_level(8, seen.teacher[0], {}, torch.zeros(0, 4), PAPER, None)
    assert not view.inside.any()
    np.testing.assert_allclose(view.size_weight, 1 / 64)


def test_gaps_are_mean_absolute_differences():
    """Cells of size 0 and T ln 3 get 1/4 and 3/4 of all attention, 0.5 and 1.5 times the mean; channels alike."""
    even = torch.zeros(1, 2, 1, 2)
    cells, channels = even.clone(), even.clone()
    cells[..., 1] = channels[:, 1] = 0.5 * log(3)
    view = view_level(8, even, {"cells": cells, "channels": channels}, torch.zeros(0, 4), PAPER, None)
    assert [view.spatial_gap(name) for name in view.students] == pytest.approx([0.5, 0], abs=1e-6)
    assert [view.channel_gap(name) for name in view.students] == pytest.approx([0, 0.5], abs=1e-6)


def test_without_alignment_the_student_is_seen_as_it_is_and_its_channels_are_not_compared(seen):
    students = {name: maps[0] for name, maps in seen.students.items()}
    view = view_level(8, seen.teacher[0], students, seen.photo.boxes, PAPER, None)
    np.testing.assert_array_equal(view.students["after"], attention(students["after"], 0.5).spatial[0])
    assert view.channel_gaps == {} and view.channel_gap("after") is None


def test_the_scale_free_loss_looks_at_standardised_channels(seen):
    """Neither the size nor the level of an aligned channel says anything there, and no cell has more than 10."""
    random = torch.Generator().manual_seed(1)
    factors, levels = 5 * torch.rand(1, 6, 1, 1, generator=random) + 1, torch.randn(1, 6, 1, 1, generator=random)
    one_hot = torch.zeros_like(seen.teacher[0])
    one_hot[..., 3, 4] = 1
    students = {"same": factors * seen.teacher[0] + levels, "one hot": one_hot}
    view = view_level(8, seen.teacher[0], students, seen.photo.boxes, FREE, None)
    assert [view.spatial_gap("same"), view.channel_gap("same")] == pytest.approx([0, 0], abs=1e-4)
    assert view.students["one hot"].max() == view.students["one hot"][3, 4] == 10
    paper = view_level(8, seen.teacher[0], students, seen.photo.boxes, PAPER, None)
    assert paper.spatial_gap("same") > 0.1
