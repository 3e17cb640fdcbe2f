from __future__ import annotations

from fgd_yolo.analysis.camera_benchmark import Overload
from fgd_yolo.analysis.stream_benchmark import Rates
from fgd_yolo.analysis.stream_report import crowd_table, table


def test_the_pipeline_is_related_to_the_bound_and_to_the_host():
    lines = table({"a.onnx": Rates(100, 95, 50)}, {"a.onnx": {"pipeline": 10, "host": 40}}).split("\n")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["a.onnx", "100 fps", "95 fps", "0.95", "50 fps", "1.90", "10.0 ms", "40.0 ms", "0.25"]
    assert len({line.count("|") for line in lines}) == 1


def test_too_many_cameras_are_a_row_of_load_share_and_ages():
    line = crowd_table({"a.onnx": Overload(8, 2.0, 0.97, 37.4, 56.2, 81.0)}).split("\n")[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["a.onnx", "8", "2.00", "0.97", "37 ms", "56 ms", "81 ms"]
