from __future__ import annotations

import numpy as np
import onnx
import pytest

from fgd_yolo.export.file_metrics import seconds_per_run
from graphs import build, detector, node


@pytest.fixture
def saved(tmp_path):
    def save(model, name):
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return save


def test_each_file_has_its_own_time_in_order(saved):
    """A product of two large matrices takes thousands of times as long as a single sum."""
    weight = np.ones((1024, 1024), "f4")
    large = build(
        [node("MatMul", "x w", "y"), node("MatMul", "y w", "z")], {"w": weight}, {"x": [1, 1, 1024, 1024]}, ["z"]
    )
    small = build([node("Add", "x x", "z")], {}, {"x": [1, 1, 1, 1]}, ["z"])
    paths = [saved(small, "small.onnx"), saved(large, "large.onnx")]
    fast, slow = seconds_per_run(paths, rounds=3)
    assert 0 < fast < slow
    slow, fast = seconds_per_run(paths[::-1], rounds=3)
    assert 0 < fast < slow


def test_files_with_a_dynamic_size_or_a_uint8_input_can_be_timed(saved):
    open_size = saved(detector(shape=("batch", 3, "height", "width")), "open.onnx")
    nodes = [node("Cast", "images", "floats", to=1), node("Mul", "floats weights", "weighted")]
    constants = {"weights": np.ones((1, 32, 64, 3), "f4")}
    pixels = build(nodes, constants, {"images": [1, "height", "width", "channels"]}, ["weighted"])
    pixels.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    times = seconds_per_run([open_size, saved(pixels, "pixels.onnx")], rounds=2, imgsz=(32, 64))
    assert len(times) == 2
    assert np.isfinite(times).all()
