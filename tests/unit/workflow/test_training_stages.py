from __future__ import annotations

import hashlib
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError
from fgd_yolo.task_table import TASKS
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.time_estimate import epoch_seconds
from fgd_yolo.workflow.training_stages import (
    cached_teacher,
    check_fine_tuning,
    is_trained_for,
    prepare_teacher,
    teacher_arguments,
    train_stage,
)
from fixtures import save_checkpoint


@pytest.fixture
def dataset(tiny_data):
    return scan_dataset(str(tiny_data), {})


@pytest.fixture
def teacher(teacher_pt):
    return resolve(teacher_pt, "teacher")


def named(model, *names):
    return replace(model, names=dict(enumerate(names)))


def test_a_teacher_is_trained_for_data_of_its_classes_in_their_order(teacher, dataset):
    assert is_trained_for(teacher, dataset)
    assert is_trained_for(named(teacher, "Disc ", "BLOCK", " wedge"), dataset), "case and spaces do not matter"
    assert not is_trained_for(named(teacher, "block", "disc", "wedge"), dataset), "the order matters"
    assert not is_trained_for(named(teacher, "disc", "block"), dataset)
    assert not is_trained_for(replace(teacher, names=None), dataset), "an architecture without weights has no classes"
    assert not is_trained_for(replace(teacher, channels=1), dataset)


def test_a_teacher_trained_for_the_data_is_used_without_fine_tuning(teacher, dataset, tmp_path):
    assert prepare_teacher(teacher, dataset, {}, tmp_path) == Path(teacher.file)
    assert list(tmp_path.glob("teacher")) == []


def test_epochs_0_is_an_error_only_if_the_teacher_needs_fine_tuning(teacher, dataset):
    check_fine_tuning(teacher, dataset, "detect", 0)
    check_fine_tuning(named(teacher, "cat"), dataset, "detect", None)
    with pytest.raises(FGDError, match=r"knows 1 class \(cat\).*3 classes \(disc, block, wedge\).*--teacher-epochs N"):
        check_fine_tuning(named(teacher, "cat"), dataset, "detect", 0)


@pytest.mark.parametrize(
    ("task", "labels"), [("segment", "detect"), ("detect", "pose"), ("obb", "segment"), ("pose", "obb")]
)
def test_a_teacher_that_cannot_be_trained_on_the_labels_is_an_error_that_names_both(teacher, dataset, task, labels):
    other = replace(named(teacher, "cat"), task=TASKS[task])
    with pytest.raises(FGDError, match=rf"a model for {task}, which cannot be trained on labels for {labels}: give"):
        check_fine_tuning(other, dataset, labels, None)
    check_fine_tuning(replace(teacher, task=TASKS[task]), dataset, labels, 0)
    check_fine_tuning(named(teacher, "cat"), dataset, "segment", None)  # polygons have boxes


def test_each_of_several_teachers_is_fine_tuned_in_a_folder_of_its_own(teacher, dataset, tmp_path, monkeypatch):
    folders = []

    def train_stage(model, trainer, data, folder, train, device):
        folders.append((folder.name, train["task"]))
        return Path(teacher.file)

    monkeypatch.setattr("fgd_yolo.workflow.training_stages.train_stage", train_stage)
    train = {"epochs": 1, "imgsz": 64, "device": "cpu"}
    for place in (1, 2):
        prepare_teacher(named(replace(teacher, digest=str(place)), "cat"), dataset, train, tmp_path, place=place)
    assert folders == [("teacher", "detect"), ("teacher-2", "detect")]


def test_the_teacher_has_the_students_arguments_without_those_about_its_weights_and_layers():
    student = {
        "epochs": 30,
        "imgsz": 320,
        "seed": 3,
        "lr0": 0.1,
        "pretrained": "x.pt",
        "freeze": 10,
        "time": 1.0,
    }
    assert teacher_arguments(student, None) == {"epochs": 30, "imgsz": 320, "seed": 3, "lr0": 0.1}
    assert teacher_arguments(student, 5)["epochs"] == 5
    assert student["epochs"] == 30


def test_the_path_of_a_cached_teacher_depends_on_everything_that_affects_its_training(teacher, dataset):
    train = {"epochs": 3, "imgsz": 96}
    cached = cached_teacher(teacher, dataset, train)
    assert cached.parent.name == "teachers"
    same = [
        (teacher, dataset, {**train, "device": "cpu", "workers": 2, "plots": False}),
        (replace(teacher, file="/elsewhere.pt"), replace(dataset, file=Path("/elsewhere.yaml")), train),
        (teacher, dataset, {**train, "batch": 16, "seed": 0}),  # Ultralytics' defaults
    ]
    assert {cached_teacher(*case) for case in same} == {cached}
    other = [
        (replace(teacher, digest="other"), dataset, train),
        (teacher, replace(dataset, scan=dataset.scan._replace(digest="other")), train),
        *(
            (teacher, dataset, {**train, **change})
            for change in ({"epochs": 4}, {"imgsz": 64}, {"seed": 1}, {"lr0": 0.1})
        ),
    ]
    assert len({cached, *(cached_teacher(*case) for case in other)}) == 1 + len(other)


def test_a_cached_teacher_is_reused_and_a_damaged_one_is_not(
    teacher, dataset, teacher_pt, tmp_path, capsys, monkeypatch
):
    stranger, train = named(teacher, "cat"), {"epochs": 1, "imgsz": 64}
    cached = cached_teacher(stranger, dataset, train)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(teacher_pt.read_bytes())
    assert prepare_teacher(stranger, dataset, train, tmp_path) == cached
    cached.write_bytes(teacher_pt.read_bytes()[:1000])
    monkeypatch.setattr("fgd_yolo.workflow.training_stages.train_stage", lambda *args: Path(teacher_pt))
    assert prepare_teacher(stranger, dataset, train, tmp_path) == cached
    assert "trained again" in capsys.readouterr().out
    assert cached.read_bytes() == teacher_pt.read_bytes()
    assert list(cached.parent.iterdir()) == [cached], "no temporary file is left"


def test_a_teacher_that_cannot_be_cached_is_used_by_its_own_run(teacher, dataset, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FGD_YOLO_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("fgd_yolo.workflow.training_stages.train_stage", lambda *args: Path("best.pt"))
    train = {"epochs": 1, "imgsz": 64, "device": "cpu"}
    assert prepare_teacher(named(teacher, "cat"), dataset, train, tmp_path) == Path("best.pt")
    assert "used by this run only" in capsys.readouterr().out


def test_two_runs_that_fine_tune_the_same_teacher_both_use_the_first(
    teacher, dataset, teacher_pt, student_yaml, tiny_data, tmp_path, capsys, monkeypatch
):
    """The teacher of a run is never replaced; otherwise the run could not be resumed."""
    stranger, train = named(teacher, "cat"), {"epochs": 1, "imgsz": 64}
    cached = cached_teacher(stranger, dataset, train)
    own = save_checkpoint(tmp_path / "own.pt", student_yaml, tiny_data)

    def overtaken(*args) -> Path:
        cached.parent.mkdir(parents=True)
        shutil.copyfile(teacher_pt, cached)  # another run finishes in the meantime
        return own

    monkeypatch.setattr("fgd_yolo.workflow.training_stages.train_stage", overtaken)
    assert prepare_teacher(stranger, dataset, train, tmp_path) == cached
    assert cached.read_bytes() == teacher_pt.read_bytes() != own.read_bytes()
    assert "another run has cached the same one in the meantime" in capsys.readouterr().out
    assert list(cached.parent.iterdir()) == [cached]


def test_a_run_resumes_only_with_the_teacher_it_was_started_with(teacher, dataset, teacher_pt, tmp_path):
    stranger, train = named(teacher, "cat"), {"epochs": 1, "imgsz": 64}
    cached, own = cached_teacher(stranger, dataset, train), tmp_path / "teacher/weights/best.pt"
    digest = hashlib.sha256(teacher_pt.read_bytes()).hexdigest()
    for place in (cached, own):
        place.parent.mkdir(parents=True)
    cached.write_bytes(b"of another run")
    with pytest.raises(FGDError, match="is missing or changed: start a new run"):
        prepare_teacher(stranger, dataset, train, tmp_path, started_with=digest)
    for place in (own, cached):
        shutil.copyfile(teacher_pt, place)
        assert prepare_teacher(stranger, dataset, train, tmp_path, started_with=digest) == place


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolov8n-p6.yaml"])
def test_an_image_size_between_strides_has_an_estimate_too(model, dataset):
    assert epoch_seconds(resolve(model, "teacher"), dataset, {"imgsz": 96, "batch": 2, "device": "cpu"}) > 0


def test_the_estimate_is_above_0_grows_with_the_images_and_draws_no_random_number(teacher, dataset):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    arguments = {"imgsz": 64, "batch": 2, "device": "cpu"}
    few = epoch_seconds(teacher, dataset, arguments)
    larger = replace(dataset, scan=dataset.scan._replace(train_images=1000 * dataset.scan.train_images))
    many = epoch_seconds(teacher, larger, arguments)
    assert 0 < few < many
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state()[1].tolist(), random.getstate())


def test_a_finished_training_is_not_repeated_and_a_stale_lock_is_removed(teacher_pt, tmp_path):
    weights = tmp_path / "student/weights"
    weights.mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        shutil.copy(teacher_pt, weights / name)
    (tmp_path / "student/.lock").touch()
    (tmp_path / "student/.lock.json").write_text('{"pid": 1, "host": "here", "since": "yesterday"}')
    best = train_stage("none.pt", None, "none.yaml", tmp_path / "student", {})
    assert best == weights / "best.pt"
    assert [path.name for path in (tmp_path / "student").iterdir()] == ["weights"]


def test_a_damaged_best_checkpoint_is_named_with_what_to_do(teacher_pt, tmp_path):
    weights = tmp_path / "student/weights"
    weights.mkdir(parents=True)
    shutil.copy(teacher_pt, weights / "last.pt")
    (weights / "best.pt").write_bytes(bytes(range(256)))
    with pytest.raises(
        FGDError, match=r"best\.pt is damaged .*: copy last\.pt over it to use the last epoch's"
    ) as error:
        train_stage("none.pt", None, "none.yaml", tmp_path / "student", {})
    assert len(str(error.value)) < 300
