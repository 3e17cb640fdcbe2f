from __future__ import annotations

import pytest

from fgd_yolo.streams.source_clock import SourceClock
from stream_results import make_result


def read(*times):
    """Return what a clock reads for frames with these (pts, arrived)."""
    clock = SourceClock()
    return [clock.read(make_result(pts=pts, arrived=arrived).frame) for pts, arrived in times]


def test_the_clock_uses_the_sources_time_or_else_the_arrival():
    assert read((0.0, 50.0), (0.1, 58.0), (0.1, 59.0)) == [(0.0, False), (0.1, False), (0.1, False)]
    assert read((None, 50.0), (None, 58.0)) == [(50.0, False), (58.0, False)]


@pytest.mark.parametrize("later", [(0.9, 51.0), (None, 51.0)])
def test_a_time_that_goes_back_or_changes_its_kind_is_a_restart_once(later):
    _, restarted, after = read((1.0, 50.0), later, later)
    assert restarted[1] and not after[1]
