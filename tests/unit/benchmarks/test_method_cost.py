"""The benchmark of the methods' cost measures every feature method."""

from __future__ import annotations

from benchmarks.method_cost import PARTS, format_parts, format_table, measure, measure_parts
from fgd_yolo.methods import METHODS


def test_every_method_is_measured_on_all_levels_and_related_to_fitnet():
    seconds = measure(imgsz=32, batch=1, repeats=1)
    assert seconds.keys() == METHODS.keys() and all(value > 0 for value in seconds.values())
    table = format_table(320, 8, {"fgd": 0.06, "fitnet": 0.025})
    assert "8 images of 320 px" in table and "60.0 ms" in table and "2.40" in table and "1.00" in table


def test_the_parts_of_a_pass_are_the_targets_and_what_needs_the_student():
    seconds = measure_parts(imgsz=32, batch=1, repeats=1)
    assert seconds.keys() == METHODS.keys()
    assert all([*own] == [*PARTS] and all(value > 0 for value in own.values()) for own in seconds.values())
    table = format_parts({"fgd": dict(zip(PARTS, (0.001, 0.002, 0.003, 0.004, 0.005), strict=True))})
    assert table.split("\n")[2] == "| `fgd` | 1.0 | 2.0 | 3.0 | 4.0 | 5.0 | 14.0 |"
