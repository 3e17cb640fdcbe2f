from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.distillation.folder import new_run_folder, read_recipe, read_result, save_recipe, save_result
from fgd_yolo.errors import UsageError


def test_runs_are_numbered_and_never_share_a_folder():
    names = [new_run_folder(None, None, "/models/yolov8n.yaml").name for _ in range(3)]
    assert names == ["yolov8n", "yolov8n-2", "yolov8n-3"]
    assert new_run_folder(None, None, "yolov8n").parent == Path.cwd() / "runs/distill"


def test_project_and_name_decide_the_place(tmp_path):
    assert new_run_folder(tmp_path / "p", "007", "yolov8n") == tmp_path / "p" / "007"
    assert new_run_folder(tmp_path / "p", "007", "yolov8n") == tmp_path / "p" / "007-2"


def test_options_read_back_as_they_were_written(tmp_path):
    recipe = Recipe(
        teacher="/t.pt", student="yolov8n.yaml", train={"freeze": [0], "lr0": 0.1}, fgd=FGDConfig(share=None)
    )
    save_recipe(tmp_path, recipe)
    assert read_recipe(tmp_path) == recipe


def test_a_folder_without_a_run_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"distill\.yaml does not exist"):
        read_recipe(tmp_path)


def test_a_result_that_cannot_be_read_or_lacks_a_part_is_no_result(tmp_path):
    assert read_result(tmp_path) is None
    facts = ("method", "fingerprint", "seed", "imgsz", "split", "val_images", "cpu_threads", "command")
    whole = {**dict.fromkeys(facts, 1), "student": {}, "files": {}}
    save_result(tmp_path, whole)
    assert read_result(tmp_path) == whole
    for key in whole:
        save_result(tmp_path, {other: value for other, value in whole.items() if other != key})
        assert read_result(tmp_path) is None, f"without {key}"
    save_result(tmp_path, {**whole, "files": None})
    assert read_result(tmp_path) is None
    for text in ("[1]", "{", '{"method": "fgd"'):
        (tmp_path / "result.json").write_text(text)
        assert read_result(tmp_path) is None
