"""Ultralytics' modules see no other process inside `alone`."""

from __future__ import annotations

import pytest
from ultralytics.engine import validator
from ultralytics.models.yolo.detect import val

from fgd_yolo.distributed.alone import alone


def test_ultralytics_has_no_rank_inside_the_block_and_its_own_after_it(monkeypatch):
    monkeypatch.setattr(validator, "RANK", 2)
    monkeypatch.setattr(validator, "LOCAL_RANK", 1)
    monkeypatch.setattr(val, "RANK", 2)
    with pytest.raises(ValueError, match="wrong"), alone():
        assert (validator.RANK, validator.LOCAL_RANK, val.RANK) == (-1, -1, -1)
        raise ValueError("wrong")
    assert (validator.RANK, validator.LOCAL_RANK, val.RANK) == (2, 1, 2)
