"""The frames of a run without labels: their classes, and which teacher labels which."""

from types import SimpleNamespace

import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.labelling import ImageLabels, LabelledObject
from fgd_yolo.task_table import TASKS
from fgd_yolo.workflow import unlabeled
from fgd_yolo.workflow.unlabeled import (
    _flipped_keypoints,
    check_found,
    chosen_names,
    label_by_teachers,
    labelling_teachers,
)
from fixtures import draw_dataset, narrow_yaml

NAMES = {0: "person", 1: "car"}


def model(*names: str) -> SimpleNamespace:
    return SimpleNamespace(names=dict(enumerate(names)), file=",".join(names))


def labels(*objects: tuple[int, float]) -> list[ImageLabels]:
    """Two images, the first with objects of (class, score)."""
    found = tuple(LabelledObject(number, score, (0.5, 0.5, 0.1, 0.1)) for number, score in objects)
    return [ImageLabels("a.jpg", 10, 10, found), ImageLabels("b.jpg", 10, 10, ())]


def test_the_classes_are_those_of_all_teachers_in_their_order():
    teachers = [model("person", "dog"), model("Dog", "car")]
    assert chosen_names(teachers, (), {}) == {0: "person", 1: "dog", 2: "car"}
    assert chosen_names(teachers, ("CAR", "person", "car"), {}) == {0: "car", 1: "person"}
    assert chosen_names(teachers, (), {"DOG": "animal"}) == {0: "person", 1: "animal", 2: "car"}


def test_a_class_that_no_teacher_has_is_refused_with_the_closest_one():
    with pytest.raises(UsageError, match=r"'persn' is not known, did you mean 'person'\?"):
        chosen_names([model("person", "dog")], ("persn",), {})


@pytest.fixture
def teachers(monkeypatch):
    """Label images by given teachers: what each finds, and the map that each was given."""
    found, maps = {}, {}

    def label_images(file, images, *, names, class_map, **settings):
        maps[file] = class_map
        return found[file]

    monkeypatch.setattr(unlabeled, "label_images", label_images)
    monkeypatch.setattr(
        unlabeled, "labelling_teachers", lambda files, task: [(file, model(*file.split(","))) for file in files]
    )
    return found, maps


def test_a_class_belongs_to_the_first_teacher_that_knows_it_even_if_it_finds_none(teachers):
    found, _ = teachers
    found |= {"person,dog": labels(), "person,car": labels((0, 0.9), (1, 0.8))}
    [first, second] = label_by_teachers(list(found), ["a.jpg", "b.jpg"], NAMES, {}, "detect")
    assert [entry.class_id for entry in first.objects] == [1] and second.objects == ()


def test_each_teacher_gets_the_entries_of_the_map_that_it_has(teachers):
    found, maps = teachers
    found |= {"person": labels((0, 0.9)), "TRUCK": labels((1, 0.7)), "cat": labels()}
    [first, _] = label_by_teachers(list(found), ["a.jpg", "b.jpg"], NAMES, {"truck": "car"}, "detect")
    assert maps == {"person": {}, "TRUCK": {"truck": "car"}}
    assert [entry.score for entry in first.objects] == [0.9, 0.7]


def test_no_teacher_that_knows_a_class_labels_nothing(teachers):
    teachers[0]["cat"] = labels()
    assert label_by_teachers(["cat"], ["a.jpg"], NAMES, {}, "detect") == []


@pytest.mark.parametrize(
    ("task", "able"),
    [
        ("detect", ["detect", "segment", "pose", "pose of 5"]),
        ("segment", ["segment"]),
        ("pose", ["pose"]),
        ("obb", ["obb"]),
    ],
)
def test_a_teacher_labels_only_a_task_whose_labels_it_predicts(task, able, monkeypatch, tmp_path):
    shapes = {"pose": [3, 3], "pose of 5": [5, 3]}
    models = {}
    for name in ("detect", "segment", "obb", "pose", "pose of 5"):
        keypoints = {"kpt_shape": shapes[name]} if name in shapes else {}
        own = name.partition(" ")[0]
        models[name] = TASKS[own].model(str(narrow_yaml(tmp_path / f"{name}.yaml", 0.0625, own, **keypoints)))
    monkeypatch.setattr(unlabeled, "load_model", lambda file: (models[file], {}))
    assert [file for file, _ in labelling_teachers(list(models), task)] == able


def test_keypoints_in_a_mirrored_image_are_those_of_the_teachers_data(tmp_path):
    data = draw_dataset(tmp_path / "data", train=1, val=1, task="pose")
    assert _flipped_keypoints({"train_args": {"data": str(data)}}) == [0, 2, 1]
    without = draw_dataset(tmp_path / "boxes", train=1, val=1)
    for checkpoint in ({}, *({"train_args": {"data": str(file)}} for file in (without, tmp_path / "moved.yaml"))):
        assert _flipped_keypoints(checkpoint) is None


def test_next_to_nothing_is_refused_with_the_numbers(capsys):
    check_found(labels((1, 0.7)), NAMES, 0.6)
    assert "objects with a score above 0.6 on 1 of 2 frames (car 1)" in capsys.readouterr().out
    with pytest.raises(FGDError, match=r"on 0 of 2 frames \(none\), its best score is 0\.55"):
        check_found(labels((1, 0.55)), NAMES, 0.6)
    with pytest.raises(FGDError, match="it finds nothing at all"):
        check_found(labels(), NAMES, 0.6)
    with pytest.raises(FGDError, match="on 1 of 100 frames"):
        check_found(labels((1, 0.7)) + labels()[1:] * 98, NAMES, 0.6)
