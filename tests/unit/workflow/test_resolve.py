from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from ultralytics.utils import SETTINGS

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.ultralytics import load_checkpoint_file
from fgd_yolo.workflow.resolve import resolve
from fixtures import narrow_yaml


def test_a_file_is_resolved_with_its_classes(teacher_pt):
    model = resolve(teacher_pt, "teacher")
    assert (model.name, model.file) == ("teacher", str(teacher_pt))
    assert list(model.names.values()) == ["disc", "block", "wedge"]


def test_a_name_means_the_pt_file_in_the_current_folder(teacher_pt):
    shutil.copy(teacher_pt, "yolov8l.pt")
    assert resolve("yolov8l", "teacher").file == str(Path.cwd() / "yolov8l.pt")


def test_ultralytics_weights_folder_is_searched(teacher_pt, tmp_path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "weights_dir", str(tmp_path))
    shutil.copy(teacher_pt, tmp_path / "yolov8l.pt")
    assert resolve("yolov8l", "teacher").file == str(tmp_path / "yolov8l.pt")


def test_a_yaml_is_an_untrained_architecture_of_the_named_size():
    large, small = resolve("yolov8l.yaml", "teacher"), resolve("yolov8n.yaml", "student")
    assert large.names is None and small.file == "yolov8n.yaml"
    assert large.digest != small.digest


def test_equal_weights_have_equal_digests_in_every_folder(teacher_pt, tmp_path):
    copy = Path(shutil.copy(teacher_pt, tmp_path / "copy.pt"))
    assert resolve(copy, "teacher").digest == resolve(teacher_pt, "teacher").digest
    copy.write_bytes(copy.read_bytes() + b" ")  # zip files may have a trailing byte
    assert resolve(copy, "teacher").digest != resolve(teacher_pt, "teacher").digest


@pytest.mark.parametrize(
    ("name", "match"),
    [("yolov8ll", "yolov8l"), ("yolo11nn.pt", "yolo11n"), ("yolov8nn.yaml", "yolov8n.yaml")],
)
def test_an_unknown_name_is_a_usage_error_with_the_closest_one(name, match):
    with pytest.raises(UsageError, match=f"did you mean '{re.escape(match)}'"):
        resolve(name, "student")


def test_a_path_that_does_not_exist_is_not_treated_as_a_name():
    with pytest.raises(FGDError, match=r"student file runs/yolov8n\.pt does not exist"):
        resolve("runs/yolov8n.pt", "student")


def test_offline_the_error_names_the_file_the_folders_and_what_to_do():
    with pytest.raises(FGDError) as teacher:
        resolve("yolov8l", "teacher")
    for part in (
        "yolov8l.pt",
        str(Path.cwd()),
        "--teacher path.pt",
        "--teacher yolov8l.yaml --teacher-epochs N",
    ):
        assert part in str(teacher.value)
    with pytest.raises(FGDError, match=r"--student yolov8n\.yaml"):
        resolve("yolov8n", "student")


def test_without_a_connection_nothing_is_left_behind_and_nothing_waits(monkeypatch):
    monkeypatch.delenv("YOLO_OFFLINE")  # so that a connection is tried, through a proxy that refuses it
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(FGDError, match=r"no connection to github\.com"):
        resolve("yolov8n", "student")
    assert waited == []
    assert list(Path.cwd().rglob("*")) == []


def test_an_interrupted_download_leaves_no_file_and_is_not_retried(monkeypatch):
    monkeypatch.setattr("fgd_yolo.workflow.resolve._check_online", lambda: None)
    monkeypatch.setattr("ultralytics.utils.downloads.is_online", lambda: True)
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(FGDError, match=r"yolov8n\.pt .* cannot be downloaded"):
        resolve("yolov8n", "student")
    assert waited == []
    assert [path for path in Path.cwd().rglob("*") if path.is_file() or path.name != "weights"] == []


def test_on_the_demo_data_missing_weights_are_replaced_by_random_ones_with_a_warning(capsys):
    model = resolve("yolov8l", "teacher", demo=True)
    assert (model.file, model.names) == ("yolov8l.yaml", None)
    output = capsys.readouterr().out
    assert "yolov8l.pt" in output and "RANDOM WEIGHTS" in output


NO_NECK, NO_OBJECTS, TEXT = "has no neck", "predicts a map, not objects", "needs a text model"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("yolov8n-cls.yaml", NO_NECK),
        *((name, NO_OBJECTS) for name in ("yolo26n-sem.yaml", "yolo26n-depth.yaml")),
        *(
            (name, TEXT)
            for name in ("yolov8s-world.yaml", "yoloe-11s.yaml", "yoloe-11s-seg.yaml", "yoloe-26n-seg.yaml")
        ),
    ],
)
def test_an_architecture_of_an_unsupported_kind_is_refused_with_the_reason(name, why):
    with pytest.raises(FGDError, match=f"{why}.*; give the YAML of a YOLO for detect, segment, pose, obb"):
        resolve(name, "student")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("yolov8n.yaml", "detect"),
        ("yolo11n-seg.yaml", "segment"),
        ("yolo26n-pose.yaml", "pose"),
        ("yolov8n-obb.yaml", "obb"),
    ],
)
def test_the_task_of_an_architecture_is_read_from_its_head(name, task):
    assert resolve(name, "student").task.name == task


@pytest.mark.parametrize("name", ["best.onnx", "runs/best.engine", "model.torchscript"])
def test_an_exported_model_is_refused(name):
    with pytest.raises(FGDError, match=r"not a \.pt checkpoint"):
        resolve(name, "teacher")


MISTAKES = {
    "scales": {"scales": ["n"]},
    "width": {"width_multiple": "wide"},
    "a layer's arguments": {"backbone": [[-1, 1, "nn.Sequential", [64]]]},
    "no backbone": {"backbone": None},
}


@pytest.mark.parametrize("changes", MISTAKES.values(), ids=MISTAKES)
def test_a_model_yaml_that_cannot_be_built_is_refused_before_anything_is_trained(changes, tmp_path):
    path = narrow_yaml(tmp_path / "mine.yaml", 0.125)
    before = torch.get_rng_state()
    resolve(path, "student")
    assert torch.equal(torch.get_rng_state(), before), "no random number is drawn"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    with pytest.raises(FGDError, match=r"student .*mine\.yaml cannot be built \("):
        resolve(path, "student")


def test_a_folder_is_not_a_model(tmp_path):
    with pytest.raises(FGDError, match=r"student \S+ is a folder: give the file of a model, such as \S+student\.pt"):
        resolve(tmp_path, "student")
    with pytest.raises(FGDError, match=r"is a folder: give the file of a model"):
        load_checkpoint_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("yolov8-world.yaml", "WorldDetect", "needs a text model"),
        ("yolov8-worldv2.yaml", "WorldDetect", "needs a text model"),
        ("yoloe-11.yaml", "YOLOEDetect", "needs a text model"),
        ("yoloe-v8-seg.yaml", "YOLOESegment", "needs a text model"),
        ("yoloe-26-seg.yaml", "YOLOESegment26", "needs a text model"),
        ("yolo11-cls.yaml", "Classify", "a classifier has no neck"),
        ("yolo26-depth.yaml", "Depth", "a map, not objects"),
        ("yolo26-sem.yaml", "SemanticSegment", "a map, not objects"),
    ],
)
def test_a_model_with_another_head_is_refused_in_one_line_with_the_reason(name, head, reason):
    with pytest.raises(FGDError, match=rf"teacher {re.escape(name)} ends in {head}: .*{reason}.*; give .*") as caught:
        resolve(name, "teacher")
    assert "\n" not in str(caught.value)
