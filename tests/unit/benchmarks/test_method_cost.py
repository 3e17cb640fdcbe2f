"""The benchmark of the methods' cost measures every feature method."""

from __future__ import annotations

from benchmarks.method_cost import format_table, measure
from fgd_yolo.methods import METHODS


def test_every_method_is_measured_on_all_levels_and_related_to_fitnet():
    seconds = measure(imgsz=32, batch=1, repeats=1)
    assert seconds.keys() == METHODS.keys() and all(value > 0 for value in seconds.values())
    table = format_table(320, 8, {"fgd": 0.06, "fitnet": 0.025})
    assert "8 images of 320 px" in table and "60.0 ms" in table and "2.40" in table and "1.00" in table
