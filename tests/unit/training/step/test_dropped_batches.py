"""Batches with terms that are not finite are counted, and more than 1 % of them, at least ten, stop a run."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.training.step.dropped_batches import DroppedBatches

GOOD, BAD = [torch.tensor(True), torch.tensor(True)], [torch.tensor(True), torch.tensor(False)]


def test_a_batch_counts_once_however_many_of_its_levels_are_not_finite():
    dropped = DroppedBatches()
    for batch, finite in enumerate([GOOD, BAD, [torch.tensor(False)] * 3, []]):
        dropped.add(finite, batch)
    assert dropped.known == dropped.end_epoch() == 2


def test_ten_of_a_few_batches_stop_the_run():
    dropped = DroppedBatches()
    for batch in range(9):
        dropped.add(BAD, batch)
    with pytest.raises(FGDError, match="10 of 12 batches"):
        for batch in range(9, 20):
            dropped.add(BAD if batch == 11 else GOOD, batch)


def test_one_percent_does_not_stop_a_run_but_more_does():
    dropped = DroppedBatches()
    for batch in range(3000):
        dropped.add(BAD if batch % 100 == 99 else GOOD, batch)
    assert dropped.end_epoch() == 30
    dropped.add(BAD, 3099)
    with pytest.raises(FGDError, match="32 of 3101"):
        dropped.add(BAD, 3100)


def test_a_restored_count_goes_on():
    dropped = DroppedBatches()
    dropped.restore(9)
    assert dropped.end_epoch() == 9
    with pytest.raises(FGDError, match="10 of 51"):
        dropped.add(BAD, 50)
