"""Facts that must be the same on all ranks: a difference is found, and what differs from host to host is left out."""

from __future__ import annotations

import pytest

from fgd_yolo.config import Recipe
from fgd_yolo.workflow.rank_facts import rank_facts

RECIPE = Recipe(teacher="yolov8l", student="yolov8n", data="data.yaml", train={"lr0": 0.01, "project": "runs"})


def differences(one: Recipe | None, other: Recipe | None) -> list[str]:
    first, second = rank_facts(one), rank_facts(other)
    return [name for name in first if name in second and first[name].digest != second[name].digest]


@pytest.mark.parametrize(
    ("changes", "name", "shown"),
    [
        ({"train": {"lr0": 0.02}}, "lr0", "lr0=0.02"),
        ({"train": {"lr0": 0.01, "batch": 8}}, "batch", "batch=8"),
        ({"heads.cls_weight": 0.25}, "heads.cls_weight", "heads.cls_weight=0.25"),
        ({"teacher_epochs": 3}, "teacher_epochs", "teacher_epochs=3"),
        ({"student": "yolov8s"}, "the student", "yolov8s"),
        ({"teacher": "yolov8m"}, "the teacher 1", "yolov8m"),
        ({"data": None}, "--data", "no data set"),
    ],
)
def test_another_option_is_found_and_shown(changes, name, shown):
    other = RECIPE.replace(**changes)
    assert name in differences(RECIPE, other)
    assert rank_facts(other)[name].description == shown


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "/elsewhere/other.yaml"},
        {"train": {"lr0": 0.01, "project": "/disk/runs", "workers": 0, "cache": "ram"}},
    ],
)
def test_places_and_the_loading_of_images_may_differ(changes):
    assert differences(RECIPE, RECIPE.replace(**changes)) == []


def test_models_on_the_disks_are_compared_by_content_and_one_host_may_lack_the_file(tmp_path):
    for folder, content in (("one", b"a"), ("two", b"a"), ("three", b"b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "teacher.pt").write_bytes(content)

    def recipe(folder: str) -> Recipe:
        return RECIPE.replace(teacher=str(tmp_path / folder / "teacher.pt"))

    assert differences(recipe("one"), recipe("two")) == []
    assert differences(recipe("one"), recipe("three")) == ["the file of the teacher 1"]
    assert differences(recipe("one"), recipe("none")) == []


def test_versions_and_whether_a_run_is_resumed_are_compared(monkeypatch):
    assert {"fgd_yolo", "torch", "ultralytics", "Python"} < rank_facts(None).keys()
    assert differences(None, RECIPE) == ["--resume"]
    before = rank_facts(RECIPE)
    monkeypatch.setattr("fgd_yolo.workflow.rank_facts.version", lambda package: "1.2.3+cu999")
    assert rank_facts(RECIPE)["torch"].description == "1.2.3" != before["torch"].description
