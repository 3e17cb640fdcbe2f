"""A second thread needs as many cores as the first, of those that this process has."""

from __future__ import annotations

import pytest
import torch

from fgd_yolo.distributed.world import World
from fgd_yolo.training.speed import spare_core
from fgd_yolo.training.speed.spare_core import has_spare_core


@pytest.mark.parametrize(
    ("cores", "threads", "processes", "expected"),
    [(1, 1, 1, False), (2, 1, 1, True), (3, 2, 1, False), (4, 2, 1, True), (2, 1, 2, False), (4, 1, 2, True)],
)
def test_the_cores_of_a_machine_are_divided_among_its_processes(cores, threads, processes, expected, monkeypatch):
    monkeypatch.setattr(spare_core, "available_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(spare_core, "current_world", lambda: World(processes, 0, 0, processes))
    assert has_spare_core() == expected
