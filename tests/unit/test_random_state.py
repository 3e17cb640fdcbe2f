"""Random numbers drawn inside the block do not affect those drawn after it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from fgd_yolo.random_state import preserve_random_state


def draw() -> tuple:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def seed() -> None:
    random.seed(3), np.random.seed(3), torch.manual_seed(3)


def test_every_stream_continues_where_it_was():
    seed()
    wanted = draw()
    seed()
    with preserve_random_state():
        draw()
    assert draw() == wanted


def test_the_streams_are_restored_after_an_error_too():
    seed()
    wanted = draw()
    seed()
    with pytest.raises(ValueError), preserve_random_state():
        draw()
        raise ValueError
    assert draw() == wanted


def test_a_seed_makes_the_block_repeatable():
    values = []
    for _ in range(2):
        torch.rand(5)
        with preserve_random_state(seed=1):
            values.append(float(torch.rand(1)))
    assert values[0] == values[1]
