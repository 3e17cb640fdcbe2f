"""The metadata of an exported file is correct, and unknown entries are omitted."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from fgd_yolo import __version__
from fgd_yolo.export.agreement import OwnDetections
from fgd_yolo.export.export_options import ExportOptions
from fgd_yolo.export.fp16 import Fp16Report
from fgd_yolo.export.int8 import Int8Report
from fgd_yolo.export.int8_checks import AgreementCheck, LabelCheck
from fgd_yolo.export.metadata import describe, read_metadata, write_metadata
from fgd_yolo.runtime.model_info import FGD_YOLO_KEY
from fgd_yolo.task_table import TASKS, Accuracy
from fixtures import draw_dataset

CHECKPOINT = {"train_metrics": {"metrics/mAP50-95(B)": 0.485, "metrics/mAP50(B)": 0.827, "fitness": 0.485}}


@pytest.fixture
def run(tmp_path):
    """A run folder, as a distillation writes it."""
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = {"teacher": "/home/me/yolov8l.pt", "student": "yolov8n", "data": "/home/me/cells.yaml"}
    recipe |= {
        "train": {"epochs": 30, "project": "/home/me/runs"},
        "features": {"scale": "paper"},
        "method": "fgd",
        "schedule": {"warmup_epochs": 2},
        "checks": {"max_ratio": 3},
        "pictures_every": 5,
        "teacher_train": {"epochs": 9},
    }
    (folder / "distill.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "result.json").write_text(json.dumps({"method": "fgd", "files": {"weights": "/old/place/student.pt"}}))
    return folder


def test_teacher_and_recipe_are_those_of_the_run_without_paths_of_this_machine(run):
    entry = describe(ExportOptions(), run / "student.pt", CHECKPOINT, None)
    assert entry["teacher"] == "yolov8l"
    assert entry["recipe"] == {
        **{"method": "fgd", "teacher": "yolov8l.pt", "student": "yolov8n", "data": "cells.yaml"},
        **{"train": {"epochs": 30}, "features": {"scale": "paper"}, "method": "fgd"},
        **{"schedule": {"warmup_epochs": 2}, "checks": {"max_ratio": 3}, "pictures_every": 5},
    }
    assert "/home" not in json.dumps(entry)


@pytest.mark.parametrize("teachers", [["/home/me/a.pt", "/home/you/b.pt"], "/home/me/a.pt,/home/you/b.pt"])
def test_the_names_of_several_teachers_have_commas(run, teachers):
    (run / "distill.yaml").write_text(yaml.safe_dump({"student": "yolov8n", "teacher": teachers}))
    entry = describe(ExportOptions(), run / "student.pt", CHECKPOINT, None)
    assert (entry["teacher"], entry["recipe"]["teacher"]) == ("a,b", "a.pt,b.pt")


@pytest.mark.parametrize("spoil", ["other weights", "no result", "broken result", "empty recipe"])
def test_weights_that_are_not_a_runs_student_have_no_provenance(run, spoil):
    if spoil == "no result":
        (run / "result.json").unlink()
    elif spoil == "broken result":
        (run / "result.json").write_text("{")
    elif spoil == "empty recipe":
        (run / "distill.yaml").write_text("")
    weights = run / ("teacher.pt" if spoil == "other weights" else "student.pt")
    entry = describe(ExportOptions(), weights, {}, None)
    assert set(entry) == {"version", "precision", "preprocessing"}
    assert (entry["version"], entry["precision"]) == (__version__, "fp32")


def test_a_student_without_a_teacher_has_none(run):
    (run / "distill.yaml").write_text(yaml.safe_dump({"student": "yolov8n", "teacher": None}))
    entry = describe(ExportOptions(), run / "student.pt", CHECKPOINT, None)
    assert "teacher" not in entry and entry["recipe"] == {"method": "fgd", "student": "yolov8n"}


def test_accuracy_is_that_of_the_checkpoint(tmp_path):
    entry = describe(ExportOptions(precision="fp16"), tmp_path / "best.pt", CHECKPOINT, None)
    assert (entry["precision"], entry["map50_95"], entry["map50"]) == ("fp16", 0.485, 0.827)


def test_agreement_is_not_written_as_accuracy_when_the_data_is_gone(run, tmp_path):
    """A run says itself that its labels were a teacher's; of other checkpoints of it the name of the data does."""
    gone = {**CHECKPOINT, "train_args": {"data": str(tmp_path / "cache/agreement.yaml")}}
    labelled_by = {"teacher": "large", "score": 0.6}
    result = {"method": "fgd", "files": {"weights": "student.pt"}, "labelled_by": labelled_by}
    (run / "result.json").write_text(json.dumps(result))
    entry = describe(ExportOptions(), run / "student.pt", gone, None)
    assert entry["agreement_with_teacher"].items() >= {**labelled_by, "map50_95": 0.485}.items()
    assert "map50_95" not in entry
    other = describe(ExportOptions(), tmp_path / "student/weights/best.pt", gone, None)
    assert not other.keys() & {"agreement_with_teacher", "map50_95", "map50", "box_map50_95", "box_map50"}
    moved = {**CHECKPOINT, "train_args": {"data": str(tmp_path / "cells.yaml")}}
    assert describe(ExportOptions(), tmp_path / "best.pt", moved, None)["map50_95"] == 0.485


def test_the_accuracy_of_a_mask_model_is_that_of_its_masks_with_the_boxes_beside_it(tmp_path):
    names = ("mAP50-95(M)", "mAP50(M)", "mAP50-95(B)", "mAP50(B)")
    metrics = {f"metrics/{name}": value for name, value in zip(names, (0.3, 0.5, 0.4, 0.6), strict=True)}
    entry = describe(ExportOptions(), tmp_path / "best.pt", {"train_metrics": metrics}, None, task="segment")
    measured = [entry[key] for key in ("map50_95", "map50", "box_map50_95", "box_map50")]
    assert measured == [0.3, 0.5, 0.4, 0.6]


@pytest.mark.parametrize(("largest", "expected"), [(31.5, 31.5), (float("inf"), None)])
def test_the_range_of_fp16_is_valid_json(largest, expected, tmp_path):
    report = Fp16Report(("/model.2/conv/Conv",), 136, largest)
    entry = describe(ExportOptions(precision="fp16"), tmp_path / "best.pt", {}, report)
    entry = json.loads(json.dumps(entry, allow_nan=False))
    assert (entry["float_nodes"], entry["range"]) == (["/model.2/conv/Conv"], {"images": 136, "largest": expected})


def test_both_input_formats_are_described(tmp_path):
    floats = describe(ExportOptions(), tmp_path / "best.pt", {}, None)["preprocessing"]
    uint8 = describe(ExportOptions(uint8_input=True), tmp_path / "best.pt", {}, None)["preprocessing"]
    common = {"padding": 114, "fit": "letterbox"}
    assert floats == {"input": "float32", "layout": "NCHW", "channels": "RGB", "scale": 1 / 255, **common}
    assert uint8 == {"input": "uint8", "layout": "NHWC", "channels": "BGR", "scale": 1, **common}
    stretched = describe(ExportOptions(), tmp_path / "best.pt", {}, None, stretched=True)["preprocessing"]
    assert stretched == {**floats, "fit": "stretch"}
    for channels, order in ((1, "GRAY"), (4, "UNCHANGED")):
        entry = describe(ExportOptions(), tmp_path / "best.pt", {}, None, channels=channels)["preprocessing"]
        assert entry == {**floats, "channels": order}


INT8 = Int8Report(
    float_nodes=("/model.0/Conv",),
    calibration={"images": 12, "sha256": "ab"},
    check=LabelCheck(TASKS["detect"], "tiny.yaml"),
    map_fp32=Accuracy(0.48, 0.8, 0.48, 0.8),
    map_int8=Accuracy(0.47, 0.79, 0.47, 0.79),
    drop_points=1.0,
    speed_ratio=2.0,
)


def test_an_int8_file_has_its_own_accuracy_beside_that_of_float32(tmp_path):
    entry = describe(ExportOptions(precision="int8"), tmp_path / "best.pt", CHECKPOINT, INT8)
    assert (entry["map50_95"], entry["map50"]) == (0.47, 0.79)
    assert entry["fp32"] == {"map50_95": 0.48, "map50": 0.8, "box_map50_95": 0.48, "box_map50": 0.8}
    assert (entry["drop_points"], entry["speed_ratio"], entry["float_nodes"]) == (1.0, 2.0, ["/model.0/Conv"])
    assert entry["calibration"] == {"images": 12, "sha256": "ab"}
    assert "refused" not in entry


def test_an_int8_file_that_was_measured_without_labels_has_no_accuracy(tmp_path):
    check = AgreementCheck(TASKS["detect"], OwnDetections(tmp_path / "data.yaml", images=4, objects=60))
    report = replace(INT8, check=check)
    entry = describe(ExportOptions(precision="int8"), tmp_path / "best.pt", CHECKPOINT, report)
    assert not {"map50_95", "map50", "box_map50_95", "box_map50", "fp32", "drop_points"} & entry.keys()
    assert (entry["agreement"]["map50_95"], entry["agreement"]["fp32"]["map50_95"]) == (0.47, 0.48)
    assert "map50_95" in describe(ExportOptions(), tmp_path / "best.pt", CHECKPOINT, None)


def test_a_student_that_was_trained_without_labels_has_its_agreement_with_the_teacher_and_no_accuracy(tmp_path):
    data = draw_dataset(tmp_path / "data", train=1, val=1)
    checkpoint = {**CHECKPOINT, "train_args": {"data": str(data)}}
    assert "map50_95" in describe(ExportOptions(), tmp_path / "best.pt", checkpoint, None)
    mark = {"labelled_by": {"teacher": "teacher.pt", "score": 0.25}}
    data.write_text(yaml.safe_dump(yaml.safe_load(data.read_text()) | mark))
    entry = describe(ExportOptions(), tmp_path / "best.pt", checkpoint, None)
    assert not {"map50_95", "map50", "box_map50_95", "box_map50"} & entry.keys()
    agreement = entry["agreement_with_teacher"]
    assert (agreement["teacher"], agreement["score"], agreement["map50_95"] > 0) == ("teacher.pt", 0.25, True)


def test_a_refused_file_that_was_kept_has_the_reason_in_its_metadata(tmp_path):
    report = replace(INT8, refusal="int8 loses 3.00 points")
    assert (
        describe(ExportOptions(precision="int8"), tmp_path / "best.pt", {}, report)["refused"]
        == "int8 loses 3.00 points"
    )


def test_the_entries_of_ultralytics_stay_and_this_package_adds_one_of_json(tmp_path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    graph.output[0].name = "y"
    model = helper.make_model(graph)
    helper.set_model_props(model, {"left over": "from a tool"})
    onnx.save(model, tmp_path / "model.onnx")
    write_metadata(tmp_path / "model.onnx", {"task": "detect", "names": "{0: 'a'}"}, {"precision": "fp32"})
    entries = read_metadata(tmp_path / "model.onnx")
    assert json.loads(entries.pop(FGD_YOLO_KEY)) == {"precision": "fp32"}
    assert entries == {"task": "detect", "names": "{0: 'a'}"}


def test_a_date_in_a_recipe_becomes_text(run, tmp_path):
    (run / "distill.yaml").write_text("train: {name: 2026-01-02}\n")
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], [])), tmp_path / "model.onnx")
    write_metadata(tmp_path / "model.onnx", {}, describe(ExportOptions(), run / "student.pt", {}, None))
    assert json.loads(read_metadata(tmp_path / "model.onnx")[FGD_YOLO_KEY])["recipe"]["train"] == {"name": "2026-01-02"}
