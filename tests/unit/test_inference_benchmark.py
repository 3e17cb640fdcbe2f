from __future__ import annotations

import pytest
import yaml

from fgd_yolo.datasets import read_dataset
from fgd_yolo.inference_benchmark import ULTRALYTICS_INT8, StageTimes, _map_name, format_stages, format_table
from fgd_yolo.task_table import Accuracy
from fixtures import draw_dataset

RUNS = {
    1: {"fp32": 0.020, "int8": 0.010, ULTRALYTICS_INT8: 0.030, "int8, OpenVINO": 0.008},
    2: {"fp32": 0.012, "int8": 0.005, ULTRALYTICS_INT8: 0.024, "int8, OpenVINO": 0.004},
}


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_variant_has_its_time_and_its_ratio_to_fp32_for_every_number_of_threads():
    header, _, fp32, int8, ultralytics, openvino, *_ = format_table(RUNS, {}).split("\n")
    assert _cells(header) == ["", "1 thread", "times fp32", "2 threads", "times fp32"]
    assert _cells(fp32) == ["fp32", "20.0 ms", "1.00", "12.0 ms", "1.00"]
    assert _cells(int8) == ["int8", "10.0 ms", "2.00", "5.0 ms", "2.40"]
    assert _cells(ultralytics) == [ULTRALYTICS_INT8, "30.0 ms", "0.67", "24.0 ms", "0.50"]
    assert _cells(openvino) == ["int8, OpenVINO", "8.0 ms", "2.50", "4.0 ms", "3.00"]


def test_the_last_line_compares_both_int8_files():
    assert format_table(RUNS, {}).endswith("by threads: 3.00 (1), 4.80 (2)")


def test_trained_weights_add_a_column_of_points_for_the_files_that_were_measured():
    accuracy = {
        name: Accuracy(value, 0.9, 0.99, 0.99)
        for name, value in (("fp32", 0.4819), ("int8", 0.4812), (ULTRALYTICS_INT8, 0.4))
    }
    lines = format_table(RUNS, accuracy).split("\n")
    assert _cells(lines[0])[-1] == "mAP50-95"
    assert [_cells(line)[-1] for line in lines[2:6]] == ["48.2", "48.1", "40.0", ""]
    assert len({len(_cells(line)) for line in lines[:6]}) == 1


def test_stages_are_compared_with_the_network_and_with_a_call():
    times = StageTimes(preprocess=0.0006, network=0.020, postprocess=0.0004, call=0.02142)
    assert times.processing_ratio == pytest.approx(0.05)
    assert times.call_ratio == pytest.approx(1.02)
    sentence = format_stages(1, times)
    assert "0.60 ms" in sentence and "5.0%" in sentence and "1.020 times" in sentence


def test_what_is_measured_against_a_teachers_objects_is_not_called_accuracy(tmp_path):
    data = draw_dataset(tmp_path, train=1, val=1)
    assert _map_name(read_dataset(str(data)), "detect") == "mAP50-95"
    data.write_text(yaml.safe_dump(yaml.safe_load(data.read_text()) | {"labelled_by": {"teacher": "t", "score": 0.6}}))
    assert _map_name(read_dataset(str(data)), "segment") == "agreement with t, not accuracy (mask mAP50-95)"
