"""The preflight stops on a teacher that does not fit the data, and warns about one that can teach little."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError
from fgd_yolo.training import preflight
from fgd_yolo.training.preflight import (
    check_boxes,
    image_size_warnings,
    model_warnings,
    start_warnings,
    starts_with_classes,
    val_image_warnings,
)
from fgd_yolo.ultralytics import load_model
from fixtures import draw_dataset
from training import OFF


def model(name) -> DetectionModel:
    return DetectionModel(str(name), nc=3, verbose=False)


def test_a_smaller_teacher_is_reported_with_both_sizes(teacher_pt, student_yaml):
    """Sizes of the fused models, as Ultralytics' own summary counts them."""
    small, large = model("yolov8n.yaml"), model("yolov8s.yaml")
    (line,) = model_warnings(small, large, 64)
    counted = [
        sum(p.numel() for p in model(name).fuse().parameters()) / 1e6 for name in ("yolov8n.yaml", "yolov8s.yaml")
    ]
    assert f"it has {counted[0]:.2f} M parameters, the student {counted[1]:.2f} M, and " in line
    assert "GFLOPs, the student" in line
    assert model_warnings(large, small, 64) == []
    assert any("bn" in name for name, _ in small.named_parameters()), "the models themselves are not fused"


def test_a_teacher_that_is_smaller_in_one_measure_is_reported_in_that_measure():
    (line,) = model_warnings(model("yolov8n-p2.yaml"), model("yolov8n.yaml"), 64)
    assert "M parameters" in line and "GFLOPs" not in line


def test_a_student_that_starts_as_its_teacher_is_reported(teacher_pt):
    teacher, _ = load_model(teacher_pt)
    (line,) = model_warnings(teacher, load_model(teacher_pt)[0], 64)
    assert "the same weights" in line
    other, _ = load_model(teacher_pt)
    next(other.parameters()).data[0] += 1e-3
    assert model_warnings(teacher, other, 64) == []


@pytest.mark.parametrize(
    ("trained", "reported"), [(640, False), (427, False), (1280, True), (320, True), ([1280, 720], True), (None, False)]
)
def test_an_image_size_far_from_the_teachers_own_is_reported(trained, reported):
    lines = image_size_warnings(trained, 640)
    assert bool(lines) == reported
    assert not reported or " and gets 640 px here" in lines[0]


def test_a_teacher_of_larger_images_is_offered_them():
    (line,) = image_size_warnings(1280, 640)
    assert line.endswith("; teacher_imgsz=1280 shows it the images at that size")
    assert "teacher_imgsz" not in image_size_warnings(320, 640)[0]


def test_val_images_that_the_teacher_was_trained_on_are_counted(tmp_path):
    data = draw_dataset(tmp_path / "data")
    val = sorted(str(path) for path in (data.parent / "images/val").iterdir())
    assert val_image_warnings("t.pt", str(data), val) == []
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "images").symlink_to(Path(val[0]).parent)
    leaky = data.with_name("leaky.yaml")
    trained = ["images/train", str(linked / "images")]
    leaky.write_text(yaml.safe_dump({**yaml.safe_load(data.read_text()), "train": trained}))
    (line,) = val_image_warnings("t.pt", str(leaky), val[:4])
    assert "trained on 4 of the 4 val images" in line
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(val[0]).read_bytes())
    (line,) = val_image_warnings("t.pt", str(leaky), [str(copy), str(tmp_path / "gone.png")], "student")
    assert "the student was trained on 1 of the 2 val images" in line
    for recorded in (None, "gone.yaml", "https://example.com/data.yaml", 3):
        assert val_image_warnings("t.pt", recorded, val) == []


def test_a_teacher_weaker_than_the_student_is_reported_with_both_maps():
    (line,) = start_warnings(0.2, 0.345)
    assert "mAP50-95 0.200 on this val set, the student 0.345 before its first epoch" in line
    assert start_warnings(0.345, 0.345) == []


def test_a_student_starts_with_classes_only_from_weights_that_know_those_of_the_data(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    names, other = {0: "disc", 1: "block", 2: "wedge"}, {0: "cat"}
    assert starts_with_classes(str(teacher_pt), True, names)
    assert not starts_with_classes(str(teacher_pt), True, other)
    assert not starts_with_classes(str(teacher_pt), False, names)
    assert not starts_with_classes(str(student_yaml), True, names)
    assert starts_with_classes(str(student_yaml), str(teacher_pt), names)
    assert not starts_with_classes("gone.pt", True, names)


def test_the_student_is_measured_once_for_several_teachers_which_are_named(monkeypatch):
    validated, checked = [], []

    def validate(*_, **options):
        validated.append(options)
        return SimpleNamespace(metrics=1)

    def check(file, student, starting_metrics, *_, label):
        checked.append((file.name, label, starting_metrics()))

    monkeypatch.setattr(preflight, "validate", validate)
    monkeypatch.setattr(preflight, "check_teacher", check)
    for names in (["a.pt"], ["a.pt", "b.pt"]):
        files, arguments = [Path(name) for name in names], SimpleNamespace(task="detect")
        preflight.check_teachers(files, names, nn.Identity(), None, arguments, {}, FGDConfig())
    assert checked == [("a.pt", None, 1), ("a.pt", "a.pt", 1), ("b.pt", "b.pt", 1)]
    assert len(validated) == 2, "once for each call"


def test_a_method_that_needs_boxes_stops_on_data_without_any():
    empty, labelled = {"cls": np.zeros((0, 1))}, {"cls": np.zeros((2, 1))}
    with pytest.raises(
        FGDError, match=r"method fgd needs labelled objects, and no train image of d\.yaml has one: .*pkd"
    ):
        check_boxes(FGDConfig(method="fgd"), [empty, empty], "d.yaml")
    check_boxes(FGDConfig(method="fgd"), [empty, labelled], "d.yaml")
    check_boxes(FGDConfig(method="pkd+heads"), [empty], "d.yaml")
    check_boxes(FGDConfig.from_dict({**OFF, "method": "fgd+heads"}), [], "d")
