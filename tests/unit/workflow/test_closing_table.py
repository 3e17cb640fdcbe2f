from __future__ import annotations

import os

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.datasets import scan_dataset
from fgd_yolo.workflow.closing_table import find_twin, fingerprint, format_table, measure
from fgd_yolo.workflow.run_folder import read_result, save_result
from fixtures import CLASSES, rename_classes


def row(name, map50_95, map50):
    cost = {"parameters": 3_011_433, "gflops": 8.19, "cpu_ms": 41.26}
    accuracy = {"map50_95": map50_95, "map50": map50, "box_map50_95": map50_95, "box_map50": map50}
    return {"name": name, **accuracy, **cost}


def make_result(method="fgd", map50_95=0.4321, map50=0.7, **changes):
    result = {
        "task": "detect",
        "method": method,
        "fingerprint": "same",
        "seed": 7,
        "imgsz": 320,
        "split": "val",
        "val_images": 72,
        "cpu_threads": 1,
        "teachers": [row("teacher yolov8s", 0.591, 0.9)] if method != "plain" else [],
        "student": row("student yolov8n", map50_95, map50),
        "files": {"weights": "/runs/my run/student.pt", "onnx": "/runs/my run/student.onnx", "teachers": []},
        **{"epochs": 3, "batch": 16, "nbs": 64, "batches": 30, "optimizer_steps": 7, "train_images": 160},
        **{"data": "/my data/d.yaml", "images": "/my data/images/val"},
    }
    return {**result, **changes}


def save(folder, name, result, age_s=0):
    save_result(folder / name, result)
    path = folder / name / "result.json"
    os.utime(path, (path.stat().st_atime - age_s, path.stat().st_mtime - age_s))
    return folder / name


def test_the_table_has_a_row_for_teacher_and_student():
    lines = format_table(make_result()).splitlines()
    assert lines[0].split() == ["mAP50-95", "mAP50", "parameters", "GFLOPs", "CPU", "ms"]
    assert lines[1].split() == ["teacher", "yolov8s", "0.591", "0.900", "3.01", "M", "8.19", "41.3"]
    assert lines[2].split() == ["student", "yolov8n", "0.432", "0.700", "3.01", "M", "8.19", "41.3"]
    assert "72 val images at 320 px" in lines[3] and "1 thread," in lines[3] and len(lines) == 4


def test_the_note_says_at_which_size_teachers_were_measured():
    note = format_table(make_result(teacher_imgsz=640)).splitlines()[-1]
    assert note.startswith("mAP on 72 val images at 320 px, of the teacher at 640 px. CPU ms")
    assert "of the teacher at" not in format_table(make_result(teacher_imgsz=None))


@pytest.mark.parametrize(
    ("known", "unknown", "note"),
    [
        (["a", "b"], ["c"], "teacher yolov8s: mAP over 2 of 3 classes: a, b"),
        ([], ["a", "b"], "teacher yolov8s: knows none of the 2 classes, so its mAP is not measured"),
    ],
)
def test_a_note_says_which_classes_a_teacher_was_measured_on(known, unknown, note):
    teacher = row("teacher yolov8s", 0.5, 0.6) | {"known": known, "unknown": unknown}
    assert format_table(make_result(teachers=[teacher])).splitlines()[3] == note


def test_a_teacher_with_other_classes_is_measured_on_those_that_it_shares(teacher_pt, pseudo_labelled, tmp_path):
    train = {"imgsz": 96, "batch": 4, "device": "cpu", "conf": 0.001}
    dataset = scan_dataset(str(pseudo_labelled), train)
    own = measure("teacher", teacher_pt, dataset, train)
    assert own.known is own.unknown is None
    renamed = rename_classes(teacher_pt, tmp_path / "t.pt", "round", "block", "wedge")
    mapped = measure("teacher", renamed, dataset, train, {"round": "disc"})
    assert mapped.map50_95 == own.map50_95 > 0 and mapped.unknown is None
    partial = measure("teacher", renamed, dataset, train)
    assert (partial.known, partial.unknown) == (["block", "wedge"], ["disc"])
    assert partial.map50_95 != own.map50_95 and partial.parameters == own.parameters
    none = measure("teacher", rename_classes(teacher_pt, tmp_path / "n.pt", "x", "y", "z"), dataset, train)
    assert (none.map50_95, none.box_map50, none.known) == (None, None, [])


def test_a_student_that_predicts_more_than_boxes_has_columns_for_both():
    student = row("student yolov8n-seg", 0.3, 0.5) | {"box_map50_95": 0.4, "box_map50": 0.6}
    twin = row("student", 0.25, 0.55) | {"box_map50_95": 0.41, "box_map50": 0.6}
    result = make_result(task="segment", student=student, twin={"run": "p", "method": "plain", "student": twin})
    lines = format_table(result).splitlines()
    assert lines[0].strip(" -").replace("-", " ").split() == ["masks", "boxes"]
    assert lines[1].split()[:4] == ["mAP50-95", "mAP50", "mAP50-95", "mAP50"]
    assert lines[3].split()[2:6] == ["0.300", "0.500", "0.400", "0.600"]
    assert lines[5].split()[3:7] == ["+0.050", "-0.050", "-0.010", "+0.000"]
    assert len(lines[0]) == lines[1].rindex("mAP50") + len("mAP50")
    assert lines[6].startswith("mAP of masks and boxes on 72 val images")


def test_the_note_says_that_boxes_are_rotated():
    lines = format_table(make_result(task="obb")).splitlines()
    assert lines[0].split()[:3] == ["mAP50-95", "mAP50", "parameters"]
    assert lines[3].startswith("mAP of rotated boxes on 72 val images")


def test_each_teacher_has_a_row_in_the_order_of_the_list():
    rows = [row("teacher s", 0.591, 0.9), row("teacher m", 0.6, 0.8)]
    lines = format_table(make_result(teachers=rows)).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["teacher", "s", "0.591"], ["teacher", "m", "0.600"]]


@pytest.mark.parametrize("method", ["fgd", "plain"])
def test_with_a_twin_the_difference_is_distilled_minus_plain_of_one_seed(method):
    other = "plain" if method == "fgd" else "fgd"
    values = {"fgd": (0.45, 0.72), "plain": (0.40, 0.75)}
    twin = {"run": "run-2", "method": other, "student": row("student", *values[other])}
    text = format_table(make_result(method, *values[method], twin=twin))
    difference = next(line for line in text.splitlines() if "distilled - plain" in line)
    assert "+0.050" in difference and "-0.030" in difference and difference.endswith("one seed (7)")
    assert f"{other} (run-2)" in text


def test_a_twin_is_a_finished_run_beside_it_that_differs_only_in_the_distillation(tmp_path):
    run = save(tmp_path, "run", make_result())
    save(tmp_path, "same-method", make_result())
    save(tmp_path, "other-data", make_result("plain", fingerprint="other"))
    save(tmp_path, "half", {"method": "plain", "fingerprint": "same"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/result.json").write_text("{")
    assert find_twin(run, read_result(run)) is None
    save(tmp_path, "old", make_result("plain", 0.1), age_s=100)
    save(tmp_path, "new", make_result("plain", 0.2))
    twin = find_twin(run, read_result(run))
    assert (twin["run"], twin["method"], twin["student"]["map50_95"]) == ("new", "plain", 0.2)


def test_a_plain_run_finds_its_distilled_twin(tmp_path):
    run = save(tmp_path, "run", make_result("plain"))
    save(tmp_path, "distilled", make_result("fitnet"))
    assert find_twin(run, read_result(run))["method"] == "fitnet"


def test_a_fingerprint_depends_on_everything_that_decides_what_is_learnt():
    train = {"epochs": 3, "imgsz": 96}
    base = fingerprint("student", "data", train, "cpu")
    assert base == fingerprint("student", "data", {**train, "seed": 0, "plots": False, "workers": 3}, "cpu")
    others = [
        fingerprint("other", "data", train, "cpu"),
        fingerprint("student", "other", train, "cpu"),
        fingerprint("student", "data", train, "cuda"),
        *(fingerprint("student", "data", {**train, **change}, "cpu")
          for change in ({"epochs": 4}, {"imgsz": 64}, {"batch": 8}, {"seed": 1}, {"mosaic": 0.5})),
    ]  # fmt: skip
    assert len({base, *others}) == 1 + len(others)


def test_an_unmeasured_value_is_a_dash_in_the_table_and_null_in_the_file(tmp_path):
    result = make_result(map50_95=float("nan"))
    result["student"]["cpu_ms"] = None
    result["twin"] = {"run": "plain", "method": "plain", "student": row("student", 0.4, 0.6)}
    lines = format_table(result).splitlines()
    student = next(line for line in lines if line.startswith("student"))
    assert student.split()[-1] == "-" and "nan" not in format_table(result)
    assert next(line for line in lines if line.startswith("distilled - plain")).split()[3] == "-"
    save_result(tmp_path, result)
    assert "NaN" not in (tmp_path / "result.json").read_text()
    assert read_result(tmp_path)["student"]["map50_95"] is None
    assert format_table(read_result(tmp_path)) == format_table(result)


@pytest.mark.slow
def test_a_model_of_a_larger_stride_is_measured_at_its_own_size(tiny_data, tmp_path):
    model = DetectionModel("yolov8n-p6.yaml", nc=len(CLASSES), verbose=False)
    model.names, model.task = dict(enumerate(CLASSES)), "detect"
    torch.save({"model": model, "train_args": {"task": "detect"}}, tmp_path / "wide.pt")
    data = scan_dataset(str(tiny_data), {}).copy_to(tmp_path)
    arguments = {"device": "cpu", "workers": 0}
    rows = [measure("p6", tmp_path / "wide.pt", data, {**arguments, "imgsz": size}) for size in (96, 128)]
    assert rows[0].gflops == rows[1].gflops > 0
