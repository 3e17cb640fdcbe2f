from __future__ import annotations

from fgd_yolo.analysis.stream_benchmark import Rates
from fgd_yolo.analysis.stream_report import table


def test_the_pipeline_is_related_to_the_bound_and_to_the_host():
    lines = table({"a.onnx": Rates(100, 95, 50)}, {"a.onnx": {"pipeline": 10, "host": 40}}).split("\n")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["a.onnx", "100 fps", "95 fps", "0.95", "50 fps", "1.90", "10.0 ms", "40.0 ms", "0.25"]
    assert len({line.count("|") for line in lines}) == 1
