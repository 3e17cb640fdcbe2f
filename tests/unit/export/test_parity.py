from __future__ import annotations

import onnx
import pytest
import torch
from onnx import numpy_helper

from fgd_yolo.errors import FGDError
from fgd_yolo.export.images import load_inputs
from fgd_yolo.export.parity import (
    BOX_TOLERANCE_PX,
    SCORE_TOLERANCE,
    _compare_elements,
    _compare_rows,
    _lost,
    compare_with_torch,
)
from fgd_yolo.host import load_detector
from fixtures import save_checkpoint

# Notes of the host's tracing, which the package silences and this file, calling the host itself, does not.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor")


@pytest.fixture(scope="module", params=["yolov8n.yaml", "yolo26n.yaml"])
def exported(request, tiny_data, tmp_path_factory):
    """A model, its inputs, and the file the host makes of it: raw outputs, or decoded ones for YOLO26."""
    from ultralytics import YOLO

    weights = save_checkpoint(tmp_path_factory.mktemp("parity") / "model.pt", request.param, tiny_data)
    decoded = request.param.startswith("yolo26")
    path = YOLO(weights).export(format="onnx", imgsz=96, device="cpu", nms=False if decoded else None)
    return load_detector(weights)[0], load_inputs(96, data=tiny_data, recorded=None, files=None), path


def tampered(path, folder, change):
    """Save a copy of the file in which one convolution's weights were changed."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, folder / "tampered.onnx")
    return folder / "tampered.onnx"


def scale_last_weights(factor, at=-1):
    def change(model):
        weights = [entry for entry in model.graph.initializer if len(entry.dims) == 4 and entry.dims[1] > 1]
        scaled = numpy_helper.to_array(weights[at]) * factor
        weights[at].CopyFrom(numpy_helper.from_array(scaled, weights[at].name))

    return change


def test_the_file_of_the_host_agrees_and_the_agreement_is_not_empty(exported):
    model, inputs, path = exported
    parity = compare_with_torch(path, model, inputs)
    assert parity.images == 6
    assert parity.detections > 20
    assert 0 < parity.box_difference_px < BOX_TOLERANCE_PX / 2
    assert parity.score_difference < SCORE_TOLERANCE / 2


@pytest.mark.parametrize("at", [0, -1])
def test_weights_changed_by_one_percent_are_refused_with_the_numbers(exported, tmp_path, at):
    model, inputs, path = exported
    with pytest.raises(FGDError, match=r"differ from PyTorch's by \d.* px \(allowed 0.1\), scores by \d"):
        compare_with_torch(tampered(path, tmp_path, scale_last_weights(1.01, at)), model, inputs)


def test_a_file_that_gives_nan_is_refused(exported, tmp_path):
    model, inputs, path = exported
    with pytest.raises(FGDError, match="finite"):
        compare_with_torch(tampered(path, tmp_path, scale_last_weights(float("nan"), 0)), model, inputs)


def test_a_file_of_another_input_size_is_refused(exported, tiny_data):
    model, _, path = exported
    with pytest.raises(FGDError, match="cannot run"):
        compare_with_torch(path, model, load_inputs(128, data=tiny_data, recorded=None, files=None))


def test_a_file_that_is_no_model_is_refused(exported, tmp_path):
    model, inputs, _ = exported
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(FGDError, match="cannot load"):
        compare_with_torch(tmp_path / "text.onnx", model, inputs)


def test_raw_boxes_and_scores_are_told_apart():
    raw = torch.zeros(1, 4 + 3, 5)
    moved, rescored = raw.clone(), raw.clone()
    moved[0, 3, 2], rescored[0, 4, 1] = -2.0, 0.5
    assert _compare_elements(raw, moved) == (2.0, 0.0)
    assert _compare_elements(raw, rescored) == (0.0, 0.5)


ROWS = torch.tensor(
    [
        [10.0, 10.0, 30.0, 30.0, 0.9000, 0.0],
        [50.0, 50.0, 70.0, 70.0, 0.8000, 1.0],
        [20.0, 20.0, 40.0, 40.0, 0.8000, 1.0],
        [0.0, 0.0, 5.0, 5.0, 0.1000, 2.0],
    ]
)[None]


def test_rows_of_equal_score_may_change_places():
    assert _compare_rows(ROWS, ROWS[:, [0, 2, 1, 3]]) == (0.0, 0.0)


def test_a_row_at_the_cut_of_top_k_may_be_another_anchor():
    other = ROWS.clone()
    other[0, 3, :4] += 40
    assert _compare_rows(ROWS, other) == (0.0, 0.0)


@pytest.mark.parametrize(("column", "amount"), [(0, 1.0), (3, -1.0), (5, 1.0)])
def test_a_row_that_moved_or_changed_class_is_a_difference(column, amount):
    other = ROWS.clone()
    other[0, 1, column] += amount
    assert _compare_rows(ROWS, other)[0] > BOX_TOLERANCE_PX


def test_a_score_that_moved_is_a_difference():
    other = ROWS.clone()
    other[0, 0, 4] += 0.01
    assert _compare_rows(ROWS, other)[1] == pytest.approx(0.01, rel=1e-3)


def test_a_doubled_row_that_pushes_another_out_is_a_difference():
    assert _compare_rows(ROWS, ROWS[:, [0, 1, 1, 3]])[0] > BOX_TOLERANCE_PX


def detections(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)


BOX = [10, 10, 30, 30, 0.9, 0]


def test_a_detection_that_the_other_lacks_is_lost():
    assert _lost(detections(BOX, [50, 50, 70, 70, 0.8, 0]), detections(BOX)) == 1
    assert _lost(detections(BOX), detections()) == 1
    assert _lost(detections(), detections(BOX)) == 0


def test_a_detection_of_another_class_or_place_or_a_lower_score_is_no_stand_in():
    assert _lost(detections(BOX), detections([10, 10, 30, 30, 0.9, 1])) == 1
    assert _lost(detections(BOX), detections([16, 10, 36, 30, 0.9, 0])) == 1
    assert _lost(detections(BOX), detections([11, 10, 31, 30, 0.8, 0])) == 1


def test_a_tie_that_nms_settled_the_other_way_is_no_loss():
    assert _lost(detections(BOX), detections([11, 10, 31, 30, 0.9, 0])) == 0


def test_a_detection_at_the_confidence_threshold_may_be_on_one_side_only():
    assert _lost(detections([10, 10, 30, 30, 0.2505, 0]), detections()) == 0
    assert _lost(detections([10, 10, 30, 30, 0.2520, 0]), detections()) == 1


def test_a_box_without_area_equals_itself():
    assert _lost(detections([30, 30, 10, 10, 0.9, 0]), detections([30, 30, 10, 10, 0.9, 0])) == 0
