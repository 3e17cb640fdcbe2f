from __future__ import annotations

import shutil

import pytest
from ultralytics.utils import ROOT

from fgd_yolo.config import Recipe, method_options
from fgd_yolo.errors import UsageError
from fgd_yolo.workflow.method_choice import choose_method
from fgd_yolo.workflow.resolve import resolve

YOLOV8, YOLO26, RTDETR, ROTATED = "yolov8n.yaml", "yolo26n.yaml", "rtdetr-resnet50.yaml", "yolov8n-obb.yaml"
NO_CLASS, LARGER, TWICE = {"classes_taught": False}, {"teacher_imgsz": 96}, {"teacher_imgsz": 128}
NO_TARGETS = {"unlabeled": ["frames"], "pseudo": False}


@pytest.fixture
def choose(monkeypatch):
    """Return the method of a run at 64 px whose user names none, with another default than the package's."""

    def method(default, student, *teachers, classes_taught=True, **options):
        monkeypatch.setattr(method_options, "DEFAULT_METHOD", default)
        recipe = Recipe.from_dict({"train": {"imgsz": 64}, **options})
        models = [resolve(teacher, "teacher") for teacher in teachers]
        return choose_method(recipe, resolve(student, "student"), models, classes_taught).method

    return method


@pytest.mark.parametrize(
    ("student", "teachers", "options", "methods"),
    [
        (YOLOV8, [YOLOV8], {}, ["heads+dfine", "fgd+heads+dfine", "fgd+heads"]),
        (YOLO26, [YOLOV8], {}, ["heads", "fgd+heads", "fgd+heads"]),
        (YOLOV8, [YOLO26], {}, ["heads", "fgd+heads", "fgd+heads"]),
        (YOLOV8, [YOLO26, YOLOV8], {}, ["heads+dfine", "fgd+heads+dfine", "fgd+heads"]),
        (YOLOV8, [YOLOV8], TWICE, ["heads", "fgd+heads", "fgd+heads"]),
        (YOLOV8, [YOLOV8], NO_TARGETS, ["heads", "fgd+heads", "fgd+heads"]),
        (YOLOV8, [YOLOV8], LARGER, ["fgd", "fgd", "fgd"]),
        (YOLOV8, [YOLOV8], NO_CLASS, ["fgd", "fgd", "fgd"]),
        (YOLOV8, [RTDETR], {}, ["fgd", "fgd", "fgd"]),
        (YOLOV8, [ROTATED], {}, ["heads", "fgd+heads", "fgd+heads"]),
        (YOLOV8, [ROTATED, YOLOV8], {}, ["heads+dfine", "fgd+heads+dfine", "fgd+heads"]),
        (RTDETR, [YOLOV8], {}, ["fgd", "fgd", "fgd"]),
        (YOLOV8, [RTDETR, YOLOV8], {}, ["heads+dfine", "fgd+heads+dfine", "fgd+heads"]),
    ],
)
def test_the_default_loses_what_no_teacher_can_teach(student, teachers, options, methods, choose):
    for default, expected in zip(("heads+dfine", "fgd+heads+dfine", "fgd+heads"), methods, strict=True):
        assert choose(default, student, *teachers, **options) == expected, default


def test_what_is_left_out_is_said_with_its_reason(choose, capsys):
    choose("heads+dfine", YOLOV8, YOLOV8)
    assert capsys.readouterr().out == ""
    choose("heads+dfine", YOLO26, YOLOV8)
    said = capsys.readouterr().out
    assert "method heads, not the default heads+dfine: dfine compares the distributions of box edges (DFL)" in said
    assert said.rstrip().endswith("the student has no DFL, teacher yolov8n has 16 bins")
    choose("heads+dfine", YOLOV8, RTDETR)
    assert "method fgd, not the default heads+dfine: the teacher is an RT-DETR, whose" in capsys.readouterr().out


def test_boxes_of_another_kind_are_the_reason(choose, capsys):
    choose("heads+dfine", YOLOV8, ROTATED)
    said = capsys.readouterr().out
    assert "method heads, not the default heads+dfine: the teacher is a model for obb, the student for detect" in said


@pytest.mark.parametrize("order", [("v8/yolov8", "rt-detr/rtdetr-resnet50"), ("v8/yolov8", "26/yolo26")])
def test_teachers_whose_files_have_one_name_are_both_asked(order, choose, tmp_path):
    for models in (order, order[::-1]):
        files = [tmp_path / models[0].replace("/", "-") / str(place) / "best.yaml" for place in range(2)]
        for file, model in zip(files, models, strict=True):
            file.parent.mkdir(parents=True)
            shutil.copy(ROOT / f"cfg/models/{model}.yaml", file)
        assert choose("heads+dfine", YOLOV8, *files) == "heads+dfine", models


def test_a_method_that_the_user_names_stays(choose):
    assert choose("heads+dfine", YOLO26, YOLOV8, method="ld") == "ld"
    assert choose("heads+dfine", YOLOV8, RTDETR, method="heads") == "heads"


def test_without_a_teacher_nothing_is_chosen(choose):
    assert choose("heads+dfine", YOLOV8, method="plain") == "plain"


def test_an_option_of_what_is_left_out_is_a_usage_error_that_says_why(choose):
    with pytest.raises(UsageError, match=r"^heads\.ratio has no effect.*; the default .* cannot be used: no teacher"):
        choose("fgd+heads", YOLOV8, YOLOV8, **NO_CLASS, **{"heads.ratio": 1})
