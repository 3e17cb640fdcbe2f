from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import yaml_model_load

from fgd_yolo.compare import object_sizes
from fgd_yolo.compare.object_sizes import SIZE_VALIDATORS, Boxes, SizeRecorder, measure_accuracy, size_ap
from fgd_yolo.task_table import TASKS
from fixtures import CLASSES, IMAGE_PX, KEYPOINTS, draw_dataset, narrow_yaml, rename_classes, save_checkpoint

SMALL, MEDIUM, LARGE = [10.0, 10.0, 20.0, 20.0], [50.0, 50.0, 64.0, 64.0], [0.0, 0.0, 200.0, 150.0]


def test_exact_detections_count_in_their_own_size():
    truth = [Boxes([SMALL, LARGE], [0, 0], []), Boxes([], [], [])]
    detections = [Boxes([SMALL, LARGE], [0, 0], [0.9, 0.8]), Boxes([], [], [])]
    assert size_ap(truth, detections) == {"small": pytest.approx(1), "medium": None, "large": pytest.approx(1)}


def test_missed_and_misclassified_objects_count_as_zero():
    truth = [Boxes([SMALL, MEDIUM], [0, 1], [])]
    detections = [Boxes([MEDIUM], [0], [0.9])]
    assert size_ap(truth, detections) == {"small": pytest.approx(0), "medium": pytest.approx(0), "large": None}
    assert size_ap(truth, [Boxes([], [], [])])["small"] == pytest.approx(0)


def test_a_box_counts_at_the_iou_thresholds_that_it_reaches():
    # 64 x 64, moved by 12 of its 64 pixels: IoU 52 / 76 = 0.684, so 0.50, 0.55, 0.60 and 0.65 of ten thresholds.
    moved = [MEDIUM[0] + 12, *MEDIUM[1:]]
    ap = size_ap([Boxes([MEDIUM], [2], [])], [Boxes([moved], [2], [0.5])])
    assert ap["medium"] == pytest.approx(0.4)


@pytest.mark.parametrize(("side", "size"), [(32.0, "small"), (33.0, "medium"), (97.0, "large")])
def test_sizes_match_coco(side, size):
    box = [0.0, 0.0, side, side]
    ap = size_ap([Boxes([box], [0], [])], [Boxes([box], [0], [0.5])])
    assert ap[size] == pytest.approx(1)


@pytest.mark.parametrize("task", ["detect", "segment", "pose"])
def test_boxes_are_recorded_in_pixels_of_the_original_image(task, tiny_data, tmp_path):
    data = draw_dataset(tmp_path / "data", task=task)
    wide = narrow_yaml(tmp_path / "wide.yaml", 0.25, task, **(KEYPOINTS if task == "pose" else {}))
    weights = str(save_checkpoint(tmp_path / "teacher.pt", wide, data, task=task))
    arguments = {"data": str(data), "imgsz": 64, "batch": 4, "rect": True, "plots": False, "device": "cpu"}
    validator = SIZE_VALIDATORS[TASKS[task]](args={**arguments, "model": weights}, save_dir=tmp_path)
    validator(model=weights)
    drawn = []
    for path in sorted((tiny_data.parent / "labels/val").iterdir()):
        lines = [[float(part) for part in line.split()] for line in path.read_text().splitlines()]
        drawn += [[x - w / 2, y - h / 2, w, h] for _, x, y, w, h in lines]
    recorded = [box for image in validator.truth for box in image.ltwh]
    assert len(validator.truth) == len(validator.detections) == 6
    np.testing.assert_allclose(sorted(recorded), sorted((np.array(drawn) * IMAGE_PX).tolist()), atol=0.01)


def test_rotated_boxes_have_no_sizes():
    assert not issubclass(SIZE_VALIDATORS[TASKS["obb"]], SizeRecorder)


@pytest.mark.parametrize(("task", "own"), [("detect", "box"), ("segment", "seg"), ("pose", "pose"), ("obb", "box")])
def test_the_accuracy_is_that_of_what_the_task_predicts(task, own, tmp_path, monkeypatch):
    parts = {
        name: SimpleNamespace(map=value, map50=value + 0.125, ap_class_index=[1], ap=[value])
        for name, value in (("box", 0.5), ("seg", 0.25), ("pose", 0.125))
    }
    validator = SimpleNamespace(metrics=SimpleNamespace(**parts), names={0: "disc", 1: "block"})
    model = TASKS[task].model(yaml_model_load(narrow_yaml(tmp_path / "m.yaml", 0.125, task)), verbose=False)
    model.task, model.names = task, validator.names
    monkeypatch.setattr(object_sizes, "load_model", lambda path: (model, {}))
    monkeypatch.setattr(object_sizes, "validate_by_name", lambda *args, **options: (validator, None))
    expected = parts[own].map
    assert measure_accuracy(Path("model.pt"), "data.yaml", {}) == {
        "measured": TASKS[task].measured,
        **{"map50_95": expected, "map50": expected + 0.125, "box_map50_95": 0.5, "box_map50": 0.625},
        "class_ap": {"block": expected},
    }


def test_the_accuracy_matches_ultralytics(pseudo_labelled, teacher_pt, tmp_path):
    train = {"imgsz": 96, "batch": 4, "device": "cpu", "conf": 0.001}
    measured = measure_accuracy(teacher_pt, str(pseudo_labelled), train)
    validator = DetectionValidator(
        args={**train, "data": str(pseudo_labelled), "rect": True, "plots": False}, save_dir=tmp_path
    )
    expected = validator(model=str(teacher_pt))
    assert measured["map50_95"] == pytest.approx(expected["metrics/mAP50-95(B)"]) != 0
    assert measured["map50"] == pytest.approx(expected["metrics/mAP50(B)"])
    assert np.mean(list(measured["class_ap"].values())) == pytest.approx(measured["map50_95"], abs=1e-6)
    assert measured["ap_small"] or measured["ap_medium"]


def test_two_classes_with_the_same_name_stay_separate(pseudo_labelled, teacher_pt, tmp_path):
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].names = {0: "cell", 1: "cell", 2: "rod\x1b[2J"}
    torch.save(checkpoint, tmp_path / "twice.pt")
    train = {"imgsz": 96, "batch": 4, "device": "cpu", "conf": 0.001}
    twice, once = (
        measure_accuracy(file, str(pseudo_labelled), train)["class_ap"] for file in (tmp_path / "twice.pt", teacher_pt)
    )
    renamed = {"disc": "cell (0)", "block": "cell (1)", "wedge": "rod?[2J"}
    assert twice == {renamed[name]: value for name, value in once.items()}


def test_a_teacher_with_other_classes_is_measured_on_those_that_it_shares(pseudo_labelled, teacher_pt, tmp_path):
    train, names = {"imgsz": 96, "batch": 4, "device": "cpu", "conf": 0.001}, dict(enumerate(CLASSES))
    own = measure_accuracy(teacher_pt, str(pseudo_labelled), train, names)
    teacher = rename_classes(teacher_pt, tmp_path / "t.pt", "disc", "cat", "wedge")
    measured = measure_accuracy(teacher, str(pseudo_labelled), train, names)
    assert measured["class_ap"].keys() == {"disc", "wedge"}
    assert measured["map50_95"] == pytest.approx(np.mean(list(measured["class_ap"].values())), abs=1e-6)
    assert "ap_small" in own and "ap_small" not in measured, "sizes are means over all classes"


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_each_task_is_measured_by_its_own_accuracy_as_ultralytics_does(task, tmp_path):
    data = draw_dataset(tmp_path / "data", task=task.name)
    keypoints = KEYPOINTS if task.name == "pose" else {}
    narrow = narrow_yaml(tmp_path / "m.yaml", 0.125, task.name, **keypoints)
    model = save_checkpoint(tmp_path / "m.pt", narrow, data, task=task.name)
    train = {"imgsz": 64, "batch": 4, "device": "cpu", "conf": 0.001}
    validator = task.validator(args={**train, "data": str(data), "rect": True, "plots": False}, save_dir=tmp_path)
    expected = validator(model=str(model))
    measured = measure_accuracy(model, str(data), train)
    letter = {"segment": "M", "pose": "P"}.get(task.name, "B")
    assert measured["measured"] == task.measured
    assert measured["map50_95"] == pytest.approx(expected[f"metrics/mAP50-95({letter})"])
    assert measured["box_map50"] == pytest.approx(expected["metrics/mAP50(B)"])
    assert (task.name == "obb") == (measured.get("ap_medium") is None and measured.get("ap_small") is None)
