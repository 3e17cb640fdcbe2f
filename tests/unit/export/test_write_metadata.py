"""What a file says about itself is true, and what is not known is not said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from fgd_yolo import __version__
from fgd_yolo.export.half_range import HalfReport
from fgd_yolo.export.request import Request
from fgd_yolo.export.write_metadata import describe, read_entries, write_entries
from fgd_yolo.runtime.model_info import FGD_YOLO_KEY

CHECKPOINT = {"train_metrics": {"metrics/mAP50-95(B)": 0.485, "metrics/mAP50(B)": 0.827, "fitness": 0.485}}


@pytest.fixture
def run(tmp_path):
    """The folder of a run, as a distillation leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = {"teacher": "/home/me/yolov8l.pt", "student": "yolov8n", "data": "/home/me/cells.yaml"}
    recipe |= {
        "train": {"epochs": 30, "project": "/home/me/runs"},
        "fgd": {"scale": "paper"},
        "teacher_train": {"epochs": 9},
    }
    (folder / "distill.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "result.json").write_text(json.dumps({"method": "fgd", "files": {"weights": "/old/place/student.pt"}}))
    return folder


def test_teacher_and_recipe_are_those_of_the_run_without_paths_of_this_machine(run):
    said = describe(Request(), run / "student.pt", CHECKPOINT, None)
    assert said["teacher"] == "yolov8l"
    assert said["recipe"] == {
        **{"method": "fgd", "teacher": "yolov8l.pt", "student": "yolov8n", "data": "cells.yaml"},
        **{"train": {"epochs": 30}, "fgd": {"scale": "paper"}},
    }
    assert "/home" not in json.dumps(said)


@pytest.mark.parametrize("spoil", ["other weights", "no result", "broken result", "empty recipe"])
def test_of_weights_that_are_not_a_runs_student_nothing_is_said(run, spoil):
    if spoil == "no result":
        (run / "result.json").unlink()
    elif spoil == "broken result":
        (run / "result.json").write_text("{")
    elif spoil == "empty recipe":
        (run / "distill.yaml").write_text("")
    weights = run / ("teacher.pt" if spoil == "other weights" else "student.pt")
    said = describe(Request(), weights, {}, None)
    assert set(said) == {"version", "precision", "preprocessing"}
    assert (said["version"], said["precision"]) == (__version__, "fp32")


def test_a_student_without_a_teacher_has_none(run):
    (run / "distill.yaml").write_text(yaml.safe_dump({"student": "yolov8n", "teacher": None}))
    said = describe(Request(), run / "student.pt", CHECKPOINT, None)
    assert "teacher" not in said and said["recipe"] == {"method": "fgd", "student": "yolov8n"}


def test_accuracy_is_the_checkpoints(tmp_path):
    said = describe(Request(precision="fp16"), tmp_path / "best.pt", CHECKPOINT, None)
    assert (said["precision"], said["map50_95"], said["map50"]) == ("fp16", 0.485, 0.827)


@pytest.mark.parametrize(("largest", "told"), [(31.5, 31.5), (float("inf"), None)])
def test_what_fp16_does_not_hold_is_said_in_plain_json(largest, told, tmp_path):
    report = HalfReport(("/model.2/conv/Conv",), 136, largest)
    said = describe(Request(precision="fp16"), tmp_path / "best.pt", {}, report)
    said = json.loads(json.dumps(said, allow_nan=False))
    assert (said["float_nodes"], said["range"]) == (["/model.2/conv/Conv"], {"images": 136, "largest": told})


def test_what_must_be_fed_is_said_of_both_inputs(tmp_path):
    floats = describe(Request(), tmp_path / "best.pt", {}, None)["preprocessing"]
    integers = describe(Request(uint8_input=True), tmp_path / "best.pt", {}, None)["preprocessing"]
    assert floats == {"input": "float32", "layout": "NCHW", "channels": "RGB", "scale": 1 / 255, "padding": 114}
    assert integers == {"input": "uint8", "layout": "NHWC", "channels": "BGR", "scale": 1, "padding": 114}


@dataclass(frozen=True)
class Report:
    """The fields of an int8 report."""

    accepted: bool = True
    refusal: str | None = None
    float_nodes: tuple[str, ...] = ("/model.0/Conv",)
    calibration: dict = field(default_factory=lambda: {"images": 12, "sha256": "ab"})
    map_fp32: dict = field(default_factory=lambda: {"map50_95": 0.48, "map50": 0.8})
    map_int8: dict = field(default_factory=lambda: {"map50_95": 0.47, "map50": 0.79})
    drop_points: float = 1.0
    speed_ratio: float = 2.0


def test_an_int8_file_tells_its_own_accuracy_beside_that_of_float32(tmp_path):
    said = describe(Request(precision="int8"), tmp_path / "best.pt", CHECKPOINT, Report())
    assert (said["map50_95"], said["map50"], said["fp32"]) == (0.47, 0.79, {"map50_95": 0.48, "map50": 0.8})
    assert (said["drop_points"], said["speed_ratio"], said["float_nodes"]) == (1.0, 2.0, ["/model.0/Conv"])
    assert said["calibration"] == {"images": 12, "sha256": "ab"}
    assert "refused" not in said


def test_a_file_that_was_kept_against_the_verdict_says_so(tmp_path):
    report = Report(accepted=False, refusal="int8 loses 3.00 points")
    assert describe(Request(precision="int8"), tmp_path / "best.pt", {}, report)["refused"] == "int8 loses 3.00 points"


def test_the_hosts_entries_stay_and_ours_is_one_of_json(tmp_path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    graph.output[0].name = "y"
    model = helper.make_model(graph)
    helper.set_model_props(model, {"left over": "from a tool"})
    onnx.save(model, tmp_path / "model.onnx")
    write_entries(tmp_path / "model.onnx", {"task": "detect", "names": "{0: 'a'}"}, {"precision": "fp32"})
    entries = read_entries(tmp_path / "model.onnx")
    assert json.loads(entries.pop(FGD_YOLO_KEY)) == {"precision": "fp32"}
    assert entries == {"task": "detect", "names": "{0: 'a'}"}


def test_a_date_in_a_recipe_becomes_text(run, tmp_path):
    (run / "distill.yaml").write_text("train: {name: 2026-01-02}\n")
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], [])), tmp_path / "model.onnx")
    write_entries(tmp_path / "model.onnx", {}, describe(Request(), run / "student.pt", {}, None))
    assert json.loads(read_entries(tmp_path / "model.onnx")[FGD_YOLO_KEY])["recipe"]["train"] == {"name": "2026-01-02"}
