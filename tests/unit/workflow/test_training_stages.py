from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fgd_yolo.config import Recipe
from fgd_yolo.datasets import scan_dataset
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.task_table import TASKS
from fgd_yolo.workflow.resolve import resolve
from fgd_yolo.workflow.training_stages import (
    cached_teacher,
    choose_fine_tuning,
    prepare_teacher,
    teacher_arguments,
    train_stage,
)
from fixtures import save_checkpoint
from training import OFF


@pytest.fixture
def dataset(tiny_data):
    return scan_dataset(str(tiny_data), {})


@pytest.fixture
def teacher(teacher_pt):
    return resolve(teacher_pt, "teacher")


def named(model, *names):
    return replace(model, names=dict(enumerate(names)))


UNCHANGED = {"fine_tuned": False}


def is_fine_tuned(teacher, dataset, recipe, task="detect", selected=None):
    (fine_tuned,) = choose_fine_tuning([teacher], dataset, task, recipe, selected)
    return fine_tuned


# Teachers of the data's classes disc, block, wedge; whether each is fine-tuned with teacher_epochs 0, 5 and auto.
@pytest.mark.parametrize(
    ("names", "class_map", "fine_tuned"),
    [
        (["Disc ", "BLOCK", " wedge"], {}, {0: False, 5: False, "auto": False}),
        (["wedge", "cat", "block", "disc"], {}, {0: False, 5: False, "auto": False}),
        (["ball", "block", "wedge"], {"ball": "disc"}, {0: False, 5: False, "auto": False}),
        (["disc", "block"], {}, {0: False, 5: True, "auto": True}),
        (["cat"], {}, {0: False, 5: True, "auto": True}),
        (None, {}, {5: True, "auto": True}),
    ],
    ids=["the same", "all, by name", "all, by map", "some", "none", "no weights"],
)
def test_a_teacher_is_fine_tuned_if_it_may_be_and_does_not_know_the_data(
    names, class_map, fine_tuned, teacher, dataset
):
    model = replace(teacher, names=names and dict(enumerate(names)))
    for epochs, expected in fine_tuned.items():
        assert is_fine_tuned(model, dataset, Recipe(teacher_epochs=epochs, map=class_map)) is expected, epochs


def test_a_teacher_that_knows_all_selected_classes_is_not_fine_tuned(teacher, dataset):
    some = named(teacher, "disc", "block")
    fine_tuned = [is_fine_tuned(some, dataset, Recipe(), selected=chosen) for chosen in ([0, 1], [1], [1, 2])]
    assert fine_tuned == [False, False, True]


def test_a_teacher_with_other_classes_is_used_as_it_is_and_its_classes_are_listed(teacher, dataset, tmp_path, capsys):
    partial = named(teacher, "disc", "cat", "ball")
    assert prepare_teacher(partial, dataset, {}, tmp_path, **UNCHANGED, class_map={"ball": "wedge"}) == Path(
        teacher.file
    )
    printed = capsys.readouterr().out
    assert "knows 2 of the 3 classes of the data: disc, wedge; unknown: block" in printed
    assert "used without fine-tuning" in printed


def test_a_teacher_trained_for_the_data_is_used_without_fine_tuning(teacher, dataset, tmp_path):
    assert prepare_teacher(teacher, dataset, {}, tmp_path, **UNCHANGED) == Path(teacher.file)
    assert list(tmp_path.glob("teacher")) == []


HEADS_ALONE = {**OFF, "method": "fgd+heads"}


def test_epochs_0_is_an_error_only_if_the_teacher_must_be_trained(teacher, dataset):
    for names in ("disc block wedge", "disc", "cat"):
        assert not is_fine_tuned(named(teacher, *names.split()), dataset, Recipe(teacher_epochs=0))
    with pytest.raises(FGDError, match=r"is untrained.*3 classes \(disc, block, wedge\).*--teacher-epochs N"):
        is_fine_tuned(replace(teacher, names=None), dataset, Recipe(teacher_epochs=0))


def test_heads_alone_need_a_shared_class_or_fine_tuning(teacher, dataset):
    heads = Recipe.from_dict({**HEADS_ALONE, "teacher_epochs": 0})
    assert not is_fine_tuned(named(teacher, "disc"), dataset, heads)
    assert not is_fine_tuned(named(teacher, "cat"), dataset, heads.replace(map={"cat": "disc"}))
    assert is_fine_tuned(named(teacher, "cat"), dataset, heads.replace(teacher_epochs=3))
    for model, selected in ((named(teacher, "cat"), None), (named(teacher, "disc"), [1, 2])):
        with pytest.raises(FGDError, match=r"none of the data's 3 classes \(disc, block, wedge\), so its head can"):
            is_fine_tuned(model, dataset, heads, selected=selected)


def test_a_map_to_or_from_a_missing_class_is_a_usage_error(teacher, dataset):
    for class_map in ({"dics": "disc"}, {"disc": "dics"}):
        with pytest.raises(UsageError, match=r"has no class 'dics', did you mean 'disc'\?.*\(disc, block, wedge\)"):
            is_fine_tuned(teacher, dataset, Recipe(map=class_map))


def test_several_teachers_are_fine_tuned_only_if_this_is_asked_for(teacher, dataset):
    def tuned(*names, **options):
        recipe = Recipe.from_dict(options)
        teachers = [named(replace(teacher, digest=own), *own.split()) for own in names]
        return choose_fine_tuning(teachers, dataset, "detect", recipe)

    assert tuned("disc cat", "block wedge") == (False, False)
    assert tuned("disc", "ball wedge", map={"ball": "block"}) == (False, False)
    assert tuned("disc", "block") == (False, False), "also if they do not know all classes together"
    assert tuned("disc", "block wedge", teacher_epochs=2) == (True, True)
    assert tuned("disc", "disc block wedge", teacher_epochs=2) == (True, False)
    assert tuned("disc", "cat", teacher_epochs=0) == (False, False)
    with pytest.raises(FGDError, match=r"2 classes \(cat, dog\), none of the data's 3 classes"):
        tuned("cat", "dog", **HEADS_ALONE, teacher_epochs=0)


@pytest.mark.parametrize(
    ("task", "labels"), [("segment", "detect"), ("detect", "pose"), ("obb", "segment"), ("pose", "obb")]
)
def test_a_teacher_that_cannot_be_trained_on_the_labels_is_an_error_that_names_both(teacher, dataset, task, labels):
    other = replace(named(teacher, "cat"), task=TASKS[task])
    message = rf"a model for {task}, which cannot be trained on labels for {labels}: give"
    with pytest.raises(FGDError, match=message):
        is_fine_tuned(other, dataset, Recipe(teacher_epochs=5), labels)
    with pytest.raises(FGDError, match=message):
        is_fine_tuned(replace(other, names=None), dataset, Recipe(), labels)
    assert not is_fine_tuned(replace(teacher, task=TASKS[task]), dataset, Recipe(teacher_epochs=5), labels)
    assert not is_fine_tuned(other, dataset, Recipe(), labels), "auto uses it as it is"
    assert is_fine_tuned(named(teacher, "cat"), dataset, Recipe(teacher_epochs=5), "segment"), "polygons have boxes"


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
    assert teacher_arguments(student, "auto") == {"epochs": 30, "imgsz": 320, "seed": 3, "lr0": 0.1}
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
