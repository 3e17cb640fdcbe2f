"""Trainings and runs on unlabelled frames, beside labelled images and alone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fgd_yolo import FGDError, FGDTrainer, distill
from fgd_yolo.config import load_recipe
from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import UsageError
from fgd_yolo.files import sha256_of_file
from fgd_yolo.training.step.gradient_ratio import GradientRatio
from fgd_yolo.ultralytics import load_model
from fixtures import KEYPOINTS, draw_dataset, narrow_rtdetr, narrow_yaml, rename_classes, save_checkpoint
from long_cases import long
from training import quick_config, rows, same_weights, train

pytestmark = pytest.mark.slow

FOUND = {"pseudo_high": 0.3, "pseudo_low": 0.05}  # what an untrained teacher finds
SMALL = {"imgsz": 64, "epochs": 2, "batch": 8, "device": "cpu", "plots": False, "nbs": 8}


def frames(folder: Path, count: int = 10, task: str = "detect") -> Path:
    """Draw frames that no other data set here has, and return the list of them."""
    draw_dataset(folder, train=count, val=1, seed=7, task=task)
    images = sorted((folder / "images/train").iterdir())
    (folder / "frames.txt").write_text("".join(f"{image}\n" for image in images))
    return folder / "frames.txt"


@pytest.fixture
def distilling(teacher_pt):
    """Returns a trainer class with frames and options."""

    def build(unlabeled: Path, **options) -> type[FGDTrainer]:
        return FGDTrainer.with_teacher(teacher_pt, quick_config({**FOUND, **options}), unlabeled=unlabeled)

    return build


def test_label_files_of_frames_change_nothing(distilling, student_yaml, tiny_data, tmp_path):
    unlabeled = frames(tmp_path / "frames")
    with_files = train(distilling(unlabeled), student_yaml, tiny_data, tmp_path / "a", epochs=1)
    shutil.rmtree(tmp_path / "frames/labels")
    without = train(distilling(unlabeled), student_yaml, tiny_data, tmp_path / "b", epochs=1)
    assert same_weights(with_files.last, without.last)
    assert not list((tmp_path / "frames").rglob("*.cache"))
    assert all(np.isfinite([float(value) for value in row.values() if value]).all() for row in rows(without))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, {"rect": True}),
        ({}, {"multi_scale": 0.5, "cache": "disk"}),
        ({}, {"close_mosaic": 1, "cache": "ram", "mixup": 0.5}),
        ({"pseudo": False}, {}),
        ({"method": "fgd"}, {"classes": [0, 2]}),
        ({"method": "mgd+ld", "unlabeled_ratio": 0.9}, {}),
        ({"teacher_imgsz": 128}, {}),
        ({"teacher_precision": "bf16"}, {}),
        ({}, {"fraction": 0.5, "workers": 1}),
    ],
    ids=str,
)
def test_options_and_train_arguments_work(options, arguments, distilling, student_yaml, tmp_path):
    data = draw_dataset(tmp_path / "data")  # beside whose images cache=disk writes
    trainer = train(distilling(frames(tmp_path / "f"), **options), student_yaml, data, tmp_path, epochs=1, **arguments)
    [*_, row] = rows(trainer)
    assert float(row["train/cls_loss"]) > 0 and np.isfinite(float(row["train/box_loss"]))
    assert load_model(trainer.last)


@pytest.mark.parametrize("case", ["segment", "segment-apart", "pose", "obb", "yolo26", "rtdetr", *long("yolo26-seg")])
def test_students_of_every_task_learn_from_frames(case, tmp_path):
    task = {"yolo26": "detect", "rtdetr": "detect", "yolo26-seg": "segment"}.get(case, case.partition("-")[0])
    data = draw_dataset(tmp_path / "data", task=task)
    keypoints = KEYPOINTS if task == "pose" else {}
    teacher = save_checkpoint(
        tmp_path / "t.pt", narrow_yaml(tmp_path / "t.yaml", 0.125, task, **keypoints), data, task=task
    )
    narrow = narrow_yaml(tmp_path / "s.yaml", 0.0625, task, **keypoints)
    student = {
        "yolo26": "yolo26n.yaml",
        "yolo26-seg": "yolo26n-seg.yaml",
        "rtdetr": narrow_rtdetr(tmp_path / "r.yaml", 0.125),
    }.get(case, narrow)
    unlabeled = frames(tmp_path / "frames", task=task)
    trainer_class = FGDTrainer.with_teacher(teacher, quick_config(FOUND), unlabeled=unlabeled)
    changes = {"segment": {"multi_scale": 0.5}, "segment-apart": {"overlap_mask": False}}.get(case, {})
    trainer = train(trainer_class, student, data, tmp_path, epochs=1, task=task, **changes)
    losses = {name: float(value) for name, value in rows(trainer)[0].items() if name.startswith("train/")}
    assert all(map(np.isfinite, losses.values()))


def test_a_teacher_that_cannot_label_the_task_is_refused(teacher_pt, tmp_path):
    data = draw_dataset(tmp_path / "data", task="segment")
    student = narrow_yaml(tmp_path / "s.yaml", 0.0625, "segment")
    trainer_class = FGDTrainer.with_teacher(teacher_pt, quick_config(), unlabeled=frames(tmp_path / "frames"))
    with pytest.raises(UsageError, match="no teacher can label the unlabelled frames"):
        train(trainer_class, student, data, tmp_path, task="segment")


@pytest.fixture
def camera(tmp_path) -> Path:
    """A folder of 30 frames with label files that must not matter."""
    frames(tmp_path / "camera", 30)
    return tmp_path / "camera/images/train"


def interrupt_second_epoch(trainer):
    if trainer.epoch == 1:
        raise KeyboardInterrupt
    trainer.distiller.end_epoch()


def test_frames_alone_give_a_student_that_agrees_and_resumes(
    camera, teacher_pt, student_yaml, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    config = quick_config(FOUND)
    options = {"unlabeled": camera, "teacher_classes": ["wedge", "Disc"], "recipe": config, "name": "run"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="resume with"):
        patch.setattr(FGDTrainer, "_end_epoch", interrupt_second_epoch)
        distill(teacher_pt, student_yaml, **options, **SMALL)
    result = distill(resume="runs/distill/run")
    out = capsys.readouterr().out
    assert "no labelled data: 27 frames to train on, 3 held out" in out and "student: resuming from" in out
    assert "these numbers are agreement with teacher, not accuracy" in out and "- agreement -" in out
    assert load_model(result.weights)[0].names == {0: "wedge", 1: "disc"}
    table = json.loads((result.run_dir / "result.json").read_text())
    assert table["labelled_by"] == {"teacher": "teacher", "score": 0.3} and table["unlabeled_images"] == 27
    assert table["agreement"]["frames"] == table["val_images"] == 3
    assert table["teachers"][0]["map50_95"] is None and not (result.run_dir / "plain.yaml").exists()
    assert "the gain" not in out and result.onnx.is_file()


@pytest.mark.parametrize("task", ["segment", *long("pose", "obb")])
def test_frames_alone_are_labelled_by_the_teachers_of_the_task(task, camera, teacher_pt, tmp_path, monkeypatch):
    """The first teacher knows all classes, but predicts boxes alone."""
    monkeypatch.setenv("FGD_YOLO_CACHE", "cache")  # a relative path
    keypoints = KEYPOINTS if task == "pose" else {}
    data = draw_dataset(tmp_path / "data", task=task)
    narrow = narrow_yaml(tmp_path / "t.yaml", 0.125, task, **keypoints)
    able = save_checkpoint(tmp_path / "able.pt", narrow, data, task=task)
    student = narrow_yaml(tmp_path / "s.yaml", 0.0625, task, **keypoints)
    options = {"unlabeled": camera, "recipe": quick_config(FOUND), **SMALL, "epochs": 1}
    result = distill([teacher_pt, able], student, **options)
    assert result.metrics["labelled_by"] == {"teacher": "able", "score": 0.3} and not result.metrics["imitation"]
    assert result.metrics["task"] == task and result.metrics["agreement"]["frames"] == 3
    with pytest.raises(UsageError, match="no teacher can label the unlabelled frames"):
        distill(teacher_pt, student, **options)


@pytest.fixture
def measured_ratios(monkeypatch) -> list[str]:
    """The groups whose gradient ratio was measured."""
    groups: list[str] = []
    monkeypatch.setattr(GradientRatio, "update", lambda self, *_: groups.append(self.group))
    return groups


@pytest.mark.parametrize("found", [{}, FOUND], ids=["nothing is found", "objects are found"])
def test_a_student_imitates_on_frames_alone_and_resumes(
    found, camera, teacher_pt, student_yaml, tmp_path, monkeypatch, capsys, measured_ratios
):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    recipe = load_recipe("pretrain").override(pictures_every=0, **found)
    options = {"unlabeled": camera, "recipe": recipe, "name": "start"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="resume with"):
        patch.setattr(FGDTrainer, "_end_epoch", interrupt_second_epoch)
        distill(teacher_pt, student_yaml, **options, **SMALL)
    result = distill(resume="runs/distill/start")
    out = capsys.readouterr().out
    assert "The student has imitated its teacher for 2 epochs of 27 images without labels" in out
    assert "--data data.yaml" in out and "detects nothing" not in out and "the gain" not in out
    table = json.loads((result.run_dir / "result.json").read_text())
    assert table["imitation"] and bool(table["agreement"]["missed"]) == bool(found)
    for row in csv.DictReader((result.run_dir / "student/results.csv").open()):
        losses = {name.strip(): float(value) for name, value in row.items() if name.strip().startswith("train/")}
        assert losses["train/box_loss"] == losses["train/cls_loss"] == losses["train/dfl_loss"] == 0
        assert losses["train/correlation_loss"] > 0 and losses["train/head_cls"] > 0
    assert measured_ratios == []  # to what?
    seen = read_dataset(load_model(result.weights)[1]["train_args"]["data"], recorded=True).images("train")
    digests = {sha256_of_file(path) for path in seen}
    assert digests <= {sha256_of_file(path) for path in camera.iterdir()} and len(digests) == 27
    if not found:  # the same frames and teacher again, as a training with targets
        with pytest.raises(FGDError, match="the teacher finds next to nothing on the frames"):
            distill(teacher_pt, student_yaml, unlabeled=camera, recipe=quick_config(), **SMALL)


@pytest.mark.parametrize("task", ["segment", *long("pose", "obb")])
def test_students_of_other_tasks_imitate_on_frames_alone(task, camera, tmp_path, monkeypatch):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    keypoints = KEYPOINTS if task == "pose" else {}
    data = draw_dataset(tmp_path / "data", task=task)
    teacher = save_checkpoint(
        tmp_path / "t.pt", narrow_yaml(tmp_path / "t.yaml", 0.125, task, **keypoints), data, task=task
    )
    student = narrow_yaml(tmp_path / "s.yaml", 0.0625, task, **keypoints)
    recipe = load_recipe("pretrain").override(pictures_every=0)
    result = distill(teacher, student, unlabeled=camera, recipe=recipe, **{**SMALL, "epochs": 1})
    assert result.metrics["imitation"] and result.onnx.is_file()


def test_frames_beside_labelled_data(camera, teacher_pt, student_yaml, tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    config = quick_config({**FOUND, "unlabeled_ratio": 0.75})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="resume with"):
        patch.setattr(FGDTrainer, "_end_epoch", interrupt_second_epoch)
        distill(teacher_pt, student_yaml, tiny_data, unlabeled=camera, recipe=config, name="run", **SMALL)
    result = distill(resume="runs/distill/run")
    out = capsys.readouterr().out
    assert "student: resuming from" in out
    assert "the teacher finds objects with a score above 0.3 on" in out
    table = json.loads((result.run_dir / "result.json").read_text())
    assert table["labelled_by"] is None and table["unlabeled_images"] == 30 and table["train_images"] == 12
    assert table["batches"] == 2 * 6  # 42 images in batches of 8


def test_bad_input_stops_before_anything_is_written(camera, teacher_pt, student_yaml, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "cache"))
    val = tiny_data.parent / "images/val"
    others = rename_classes(teacher_pt, tmp_path / "others.pt", "cat", "dog", "cow")
    blind = quick_config({"pseudo_high": 1.0, "pseudo_low": 0.05})
    cases = [
        (teacher_pt, None, {"teacher_classes": "dics"}, UsageError, r"'dics' is not known, did you mean 'disc'\?"),
        (student_yaml, None, {}, UsageError, "has no weights, and there are no labels to train it on"),
        (teacher_pt, tiny_data, {"unlabeled": val}, FGDError, "are also in the val split"),
        (teacher_pt, tiny_data, {"teacher_classes": "disc"}, UsageError, "leave out --data"),
        (teacher_pt, None, {"every": "soon"}, UsageError, "'soon' is not an interval"),
        (teacher_pt, None, {"unlabeled": tmp_path / "none"}, FGDError, "none' does not exist"),
        (teacher_pt, None, {"recipe": quick_config({"pseudo": False})}, UsageError, "set features.ratio=null and"),
        (
            teacher_pt,
            tiny_data,
            {"recipe": "pretrain", "unlabeled": None},
            UsageError,
            "pseudo=false is about unlabelled",
        ),
        (teacher_pt, tiny_data, {"recipe": quick_config({"pseudo": False, "method": "ld"})}, UsageError, "method=ld"),
        (teacher_pt, None, {"recipe": blind}, FGDError, r"its best score is 0\.\d\d"),
        (others, tiny_data, {"teacher_epochs": 0}, UsageError, "no teacher can label"),
        (teacher_pt, tiny_data, {"recipe": blind}, FGDError, "finds next to nothing on the frames"),
        (teacher_pt, None, {"recipe": "plain"}, UsageError, "--unlabeled needs a distillation"),
        (teacher_pt, None, {"fraction": 0.5}, UsageError, "fraction is about labelled images"),
        (teacher_pt, tiny_data, {"single_cls": True}, UsageError, "single_cls is not available with --unlabeled"),
        (teacher_pt, None, {"unlabeled": []}, UsageError, "unlabeled is empty"),
    ]
    for teacher, data, changes, kind, message in cases:
        options = {"unlabeled": camera, "recipe": quick_config(FOUND), **changes}
        with pytest.raises(kind, match=message):
            distill(teacher, student_yaml, data, **options, **SMALL)
        assert not [folder for folder in Path("runs/distill").glob("*") if not folder.name.startswith(".")]
    with pytest.raises(UsageError, match="every is about unlabelled frames"):
        distill(teacher_pt, student_yaml, tiny_data, every="2s", **SMALL)
