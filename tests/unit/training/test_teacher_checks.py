"""What speaks against a teacher is said with the numbers of both sides, and nothing is said of a sound one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.training import teacher_checks as doubts
from fgd_yolo.ultralytics import load_detector
from fixtures import draw_dataset


def model(name) -> DetectionModel:
    return DetectionModel(str(name), nc=3, verbose=False)


def test_a_smaller_teacher_is_told_with_both_sizes(teacher_pt, student_yaml):
    """Sizes of the fused models, as Ultralytics' own summary counts them."""
    small, large = model("yolov8n.yaml"), model("yolov8s.yaml")
    (line,) = doubts.about_models(small, large, 64)
    counted = [
        sum(p.numel() for p in model(name).fuse().parameters()) / 1e6 for name in ("yolov8n.yaml", "yolov8s.yaml")
    ]
    assert f"it has {counted[0]:.2f} M parameters, the student {counted[1]:.2f} M, and " in line
    assert "GFLOPs, the student" in line
    assert doubts.about_models(large, small, 64) == []
    assert any("bn" in name for name, _ in small.named_parameters()), "the models themselves are not fused"


def test_a_teacher_that_is_smaller_in_one_way_is_told_in_that_way():
    (line,) = doubts.about_models(model("yolov8n-p2.yaml"), model("yolov8n.yaml"), 64)
    assert "M parameters" in line and "GFLOPs" not in line


def test_a_student_that_starts_as_its_teacher_is_told(teacher_pt):
    teacher, _ = load_detector(teacher_pt)
    (line,) = doubts.about_models(teacher, load_detector(teacher_pt)[0], 64)
    assert "the same weights" in line
    other, _ = load_detector(teacher_pt)
    next(other.parameters()).data[0] += 1e-3
    assert doubts.about_models(teacher, other, 64) == []


@pytest.mark.parametrize(
    ("trained", "told"), [(640, False), (427, False), (1280, True), (320, True), ([1280, 720], True), (None, False)]
)
def test_an_image_size_far_from_the_teachers_own_is_told(trained, told):
    lines = doubts.about_image_size(trained, 640)
    assert bool(lines) == told
    assert not told or " and sees 640 px here" in lines[0]


def test_val_images_that_the_teacher_was_trained_on_are_counted(tmp_path):
    data = draw_dataset(tmp_path / "data")
    val = sorted(str(path) for path in (data.parent / "images/val").iterdir())
    assert doubts.about_val_images(str(data), val) == []
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "images").symlink_to(Path(val[0]).parent)
    leaky = data.with_name("leaky.yaml")
    trained = ["images/train", str(linked / "images")]
    leaky.write_text(yaml.safe_dump({**yaml.safe_load(data.read_text()), "train": trained}))
    (line,) = doubts.about_val_images(str(leaky), val[:4])
    assert "trained on 4 of the 4 val images" in line
    for recorded in (None, "gone.yaml", "https://example.com/data.yaml", 3):
        assert doubts.about_val_images(recorded, val) == []


def test_a_teacher_weaker_than_the_start_is_told_with_both_maps():
    (line,) = doubts.about_start(0.2, 0.345)
    assert "mAP50-95 0.200 on this val set, the student 0.345 before its first epoch" in line
    assert doubts.about_start(0.345, 0.345) == []


def test_the_start_is_measured_only_where_its_classes_are_the_datas(teacher_pt, student_yaml, tiny_data, tmp_path):
    names, other = {0: "disc", 1: "block", 2: "wedge"}, {0: "cat"}
    assert doubts.starts_with_classes(str(teacher_pt), True, names)
    assert not doubts.starts_with_classes(str(teacher_pt), True, other)
    assert not doubts.starts_with_classes(str(teacher_pt), False, names)
    assert not doubts.starts_with_classes(str(student_yaml), True, names)
    assert doubts.starts_with_classes(str(student_yaml), str(teacher_pt), names)
    assert not doubts.starts_with_classes("gone.pt", True, names)
