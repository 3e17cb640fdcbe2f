"""The attention and masks that are drawn are those of the loss."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from fgd_yolo.attention.level_attention import compare_level
from fgd_yolo.methods.attention_maps import AttentionSettings, attention
from fgd_yolo.methods.box_masks import background_weights, foreground_weights

PAPER, FREE = AttentionSettings(0.5, "paper"), AttentionSettings(0.5, "free")


def test_attention_is_that_of_the_loss_with_the_student_aligned(example):
    for number, level in enumerate(example.attention):
        teacher = attention(example.teacher[number], 0.5)
        np.testing.assert_array_equal(level.teacher, teacher.spatial[0])
        for name, maps in example.students.items():
            student = attention(example.aligns[number](maps[number]).detach(), 0.5)
            np.testing.assert_array_equal(level.students[name], student.spatial[0])
            np.testing.assert_array_equal(level.channel_differences[name], (student.channel - teacher.channel).abs()[0])


def test_masks_are_those_of_the_loss(example):
    index = torch.zeros(2, dtype=torch.long)
    for level in example.attention:
        foreground = foreground_weights(example.image.objects.boxes, index, 1, (64 // level.stride,) * 2)
        np.testing.assert_array_equal(level.object_mask, foreground[0] > 0)
        np.testing.assert_array_equal(level.scale_mask, (foreground + background_weights(foreground))[0])
        assert level.scale_mask.min() > 0, "every cell has a weight"


def test_an_image_without_boxes_is_all_background(example):
    level = compare_level(8, example.teacher[0], {}, torch.zeros(1, 8, 8), PAPER, None)
    assert not level.object_mask.any()
    np.testing.assert_allclose(level.scale_mask, 1 / 64)


def test_differences_are_mean_absolute_differences_of_attention():
    """Values 0 and T ln 3 get 1/4 and 3/4 of the attention, 0.5 and 1.5 times the mean."""
    even = torch.zeros(1, 2, 1, 2)
    cells, channels = even.clone(), even.clone()
    cells[..., 1] = channels[:, 1] = 0.5 * log(3)
    level = compare_level(8, even, {"cells": cells, "channels": channels}, torch.zeros(1, 1, 2), PAPER, None)
    assert [level.spatial_difference(name) for name in level.students] == pytest.approx([0.5, 0], abs=1e-6)
    assert [level.channel_difference(name) for name in level.students] == pytest.approx([0, 0.5], abs=1e-6)


def test_without_alignment_the_students_own_map_is_used_and_its_channels_are_not_compared(example):
    students = {name: maps[0] for name, maps in example.students.items()}
    level = compare_level(8, example.teacher[0], students, example.image.foreground((8, 8)), PAPER, None)
    np.testing.assert_array_equal(level.students["after"], attention(students["after"], 0.5).spatial[0])
    assert level.channel_differences == {} and level.channel_difference("after") is None


def test_the_free_scale_standardises_channels_and_caps_the_attention(example):
    """Scaling and shifting a channel has no effect, and no cell exceeds 10."""
    random = torch.Generator().manual_seed(1)
    factors, levels = 5 * torch.rand(1, 6, 1, 1, generator=random) + 1, torch.randn(1, 6, 1, 1, generator=random)
    one_hot = torch.zeros_like(example.teacher[0])
    one_hot[..., 3, 4] = 1
    students = {"same": factors * example.teacher[0] + levels, "one hot": one_hot}
    level = compare_level(8, example.teacher[0], students, example.image.foreground((8, 8)), FREE, None)
    assert [level.spatial_difference("same"), level.channel_difference("same")] == pytest.approx([0, 0], abs=1e-4)
    assert level.students["one hot"].max() == level.students["one hot"][3, 4] == 10
    paper = compare_level(8, example.teacher[0], students, example.image.foreground((8, 8)), PAPER, None)
    assert paper.spatial_difference("same") > 0.1
