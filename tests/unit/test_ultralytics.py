"""Checkpoints are read without executing them, and one that cannot be used is named in one line."""

from __future__ import annotations

import os
import pickle
import zipfile

import pytest
import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.ultralytics import load_model
from fixtures import narrow_yaml, save_checkpoint


class Malicious:
    """Leaves a marker file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_detector_is_loaded_in_float32_and_eval_mode(teacher_pt, tiny_data):
    model, checkpoint = load_model(teacher_pt)
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.args["data"] == str(tiny_data) and checkpoint["epoch"] == -1


@pytest.mark.parametrize("wrapped", ["model", "entire file", "plain pickle"])
def test_a_malicious_pickle_is_refused_and_never_executed(wrapped, tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "evil.pt"
    if wrapped == "plain pickle":
        path.write_bytes(pickle.dumps(Malicious(marker)))
    else:
        torch.save({"model": Malicious(marker)} if wrapped == "model" else Malicious(marker), path)
    with pytest.raises(FGDError, match="nothing in it was executed") as refusal:
        load_model(path)
    assert not marker.exists() and "\n" not in str(refusal.value)
    torch.load(path, weights_only=False) if wrapped != "plain pickle" else pickle.loads(path.read_bytes())
    assert marker.exists(), "the trap itself does not work"


def test_a_truncated_checkpoint_is_named(teacher_pt, tmp_path):
    path = tmp_path / "half.pt"
    path.write_bytes(teacher_pt.read_bytes()[:20000])
    with pytest.raises(FGDError, match="damaged"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_a_checkpoint_is_named(content, tmp_path):
    path = tmp_path / "wrong.pt"
    path.write_bytes(content)
    with pytest.raises(FGDError, match=r"wrong\.pt"):
        load_model(path)


def test_a_zip_that_is_not_a_checkpoint_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FGDError, match=r"archive\.pt"):
        load_model(tmp_path / "archive.pt")


def test_a_missing_file_and_another_suffix_are_named(tmp_path):
    with pytest.raises(FGDError, match="does not exist"):
        load_model(tmp_path / "none.pt")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(FGDError, match=r"not a \.pt checkpoint"):
        load_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_a_model_of_any_task_is_loaded_in_float32_with_its_task(task, tiny_data, tmp_path):
    narrow = narrow_yaml(tmp_path / "narrow.yaml", 0.125, task)
    model, checkpoint = load_model(save_checkpoint(tmp_path / "fine.pt", narrow, tiny_data, task=task))
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
    assert (model.task, model.args["data"], checkpoint["epoch"]) == (task, str(tiny_data), -1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("yolov8n-cls.yaml", ": a classifier has no neck"),
        ("yoloe-11s-seg.yaml", ": it needs a text model"),
        ("yolov8s-worldv2.yaml", ": it needs a text model"),
    ],
)
def test_other_models_are_refused_with_the_reason(name, reason, tmp_path):
    from ultralytics import YOLO

    YOLO(name).save(tmp_path / "other.pt")
    with pytest.raises(FGDError, match=f"not a YOLO for detect, segment, pose, obb{reason}"):
        load_model(tmp_path / "other.pt")


@pytest.mark.parametrize("load", [load_model, load_model])
def test_weights_without_a_model_are_refused(load, tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(FGDError, match="contains no model"):
        load(tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_every_family_passes_the_safe_loader(name, tiny_data, tmp_path):
    model, _ = load_model(save_checkpoint(tmp_path / "fine.pt", name, tiny_data))
    assert model.names == {0: "disc", 1: "block", 2: "wedge"}


@pytest.mark.parametrize("name", ["it's.pt", "yolov5n.pt", "a b#1.pt"])
def test_a_file_is_read_whatever_its_name(name, teacher_pt, tmp_path):
    """Ultralytics would drop the quote, and download another model instead of the second file."""
    (tmp_path / name).write_bytes(teacher_pt.read_bytes())
    model, _ = load_model(tmp_path / name)
    assert model.pt_path == str(tmp_path / name)


def test_an_error_names_the_file_and_no_other(tmp_path, recwarn):
    path = tmp_path / "plain.pt"
    path.write_bytes(pickle.dumps({"model": None}, protocol=4))
    with pytest.raises(FGDError) as refusal:
        load_model(path)
    assert str(refusal.value).startswith(str(path)) and "weights.pt" not in str(refusal.value)
    assert not recwarn.list


@pytest.mark.parametrize("load", [load_model, load_model])
@pytest.mark.parametrize(
    "names", [{0: "disc"}, {number: str(number) for number in range(80)}, {1: "a", 2: "b", 3: "c"}]
)
def test_a_checkpoint_whose_names_do_not_fit_its_head_is_refused(load, names, teacher_pt, tmp_path):
    checkpoint = torch.load(teacher_pt, weights_only=False)
    checkpoint["model"].names = names
    torch.save(checkpoint, tmp_path / "odd.pt")
    count = f"{len(names)} class{'es' * (len(names) > 1)}"
    with pytest.raises(FGDError, match=f"is inconsistent: it names {count}, its head predicts 3"):
        load(tmp_path / "odd.pt")


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml"])
def test_a_head_that_is_narrower_than_its_class_count_is_refused(name, tiny_data, tmp_path):
    path = save_checkpoint(tmp_path / "odd.pt", name, tiny_data)
    checkpoint = torch.load(path, weights_only=False)
    head = checkpoint["model"].model[-1]
    for branch in head.cv3:
        branch[-1] = torch.nn.Conv2d(branch[-1].in_channels, 80, 1)
    torch.save(checkpoint, path)
    with pytest.raises(FGDError, match="it names 3 classes, its head predicts 3 or 80"):
        load_model(path)
