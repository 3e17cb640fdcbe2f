from __future__ import annotations

import pytest
import torch
from ultralytics.nn.tasks import yaml_model_load

from fgd_yolo.config import FGDConfig
from fgd_yolo.task_table import TASKS
from fgd_yolo.training.teachers.other_tasks import (
    Labels,
    can_be_fine_tuned,
    shared_task,
    teachable_terms,
    teacher_validator,
    unused_weights,
)
from fgd_yolo.ultralytics import load_model, validate
from fixtures import KEYPOINTS, draw_dataset, narrow_yaml, save_checkpoint

UPRIGHT = ("detect", "segment", "pose")
ALL = {
    "detect": ("cls", "box"),
    "segment": ("cls", "box", "mask"),
    "pose": ("cls", "box", "keypoint", "visibility"),
    "obb": ("cls", "box", "angle"),
}


def build(folder, task: str, **changes):
    options = {**(KEYPOINTS if task == "pose" else {}), **changes}
    file = narrow_yaml(folder / f"{task}.yaml", 0.125, task, **options)
    return TASKS[task].model(yaml_model_load(file), verbose=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {task: build(folder, task) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_a_teacher_of_the_same_task_teaches_all_of_it_and_nothing_is_printed(task, models):
    assert teachable_terms(models[task], models[task]) == (ALL[task], None)


@pytest.mark.parametrize(
    ("student", "teacher", "terms", "line"),
    [
        (
            *("segment", "detect", ("cls", "box")),
            "the teacher is a model for detect, the student for segment: its head teaches class scores and boxes, "
            "not masks; a teacher for segment would teach those too",
        ),
        (
            *("pose", "segment", ("cls", "box")),
            "the teacher is a model for segment, the student for pose: its head teaches class scores and boxes, "
            "not keypoints and visibility of keypoints; a teacher for pose would teach those too",
        ),
        (
            *("detect", "segment", ("cls", "box")),
            "the teacher is a model for segment, the student for detect: its head teaches class scores and boxes",
        ),
        (
            *("obb", "detect", ("cls",)),
            "the teacher is a model for detect, the student for obb: its head teaches class scores, not boxes "
            "and angles; a teacher for obb would teach those too",
        ),
        (
            *("detect", "obb", ("cls",)),
            "the teacher is a model for obb, the student for detect: its head teaches class scores, not boxes; "
            "a teacher for detect would teach those too",
        ),
    ],
)
def test_a_teacher_of_another_task_teaches_what_both_predict_and_says_so(student, teacher, terms, line, models):
    assert teachable_terms(models[student], models[teacher]) == (terms, line)


def test_a_weight_for_a_term_that_the_students_task_lacks_is_named(models):
    heads = FGDConfig(heads={"mask_weight": 2, "angle_weight": 0.5, "keypoint_weight": 0, "cls_weight": 3}).heads
    mask, angle = (
        f"heads.{term}_weight has no effect: a student for {{}} predicts no {words}"
        for term, words in (("mask", "masks"), ("angle", "angles"))
    )
    assert unused_weights(models["detect"], heads) == [mask.format("detect"), angle.format("detect")]
    assert unused_weights(models["segment"], heads) == [angle.format("segment")]
    assert unused_weights(models["detect"], FGDConfig().heads) == []


@pytest.mark.parametrize(
    ("student", "teacher", "terms", "words"),
    [
        ([3, 3], [5, 3], ("cls", "box"), "the teacher predicts 5 keypoints, the student 3: they are not imitated;"),
        ([3, 3], [3, 2], ("cls", "box", "keypoint"), "the visibility of keypoints, the teacher does not"),
        ([3, 2], [3, 3], ("cls", "box", "keypoint"), None),
        ([3, 2], [3, 2], ("cls", "box", "keypoint"), None),
    ],
)
def test_keypoints_that_differ_are_not_imitated(student, teacher, terms, words, tmp_path):
    pair = (build(tmp_path, "pose", kpt_shape=shape) for shape in (student, teacher))
    taught, line = teachable_terms(*pair)
    assert taught == terms
    assert (line is None) if words is None else (words in line and "a teacher of the same keypoints" in line)


def test_a_teacher_is_measured_by_its_boxes_unless_the_tasks_agree(models, tmp_path):
    def measured_by(labels: str, model) -> str | None:
        task = shared_task(Labels.of_data(TASKS[labels], KEYPOINTS), model)
        return task and task.name

    for task, model in models.items():
        assert measured_by(task, model) == task
        assert Labels.of_data(TASKS[task], KEYPOINTS) == Labels.of_model(model)
    assert {measured_by(one, models[other]) for one in UPRIGHT for other in UPRIGHT if one != other} == {"detect"}
    assert measured_by("obb", models["detect"]) is measured_by("segment", models["obb"]) is None
    assert measured_by("pose", build(tmp_path, "pose", kpt_shape=[5, 3])) == "detect"
    assert measured_by("pose", build(tmp_path, "pose", kpt_shape=[3, 2])) == "detect"


def test_labels_that_ultralytics_would_misread_are_not_trained_on():
    detect, segment, pose, obb = TASKS.values()
    assert all(can_be_fine_tuned(detect, task) for task in (detect, segment, obb))
    assert not any(can_be_fine_tuned(teacher, pose) for teacher in (detect, segment, obb))
    assert not any(can_be_fine_tuned(teacher, detect) for teacher in (segment, pose, obb))


@pytest.mark.parametrize(
    ("teacher", "architecture"), [("detect", None), ("segment", None), ("pose", None), ("segment", "yolo26n-seg.yaml")]
)
def test_the_boxes_of_a_teacher_have_the_same_accuracy_on_the_labels_of_each_task(teacher, architecture, tmp_path):
    """The drawn objects have the same boxes for every task."""
    keypoints = KEYPOINTS if teacher == "pose" else {}
    architecture = architecture or narrow_yaml(tmp_path / "t.yaml", 0.25, teacher, **keypoints)
    own = draw_dataset(tmp_path / teacher, train=1, val=12, task=teacher)
    weights = save_checkpoint(
        tmp_path / "t.pt", architecture, own, task=teacher, small_boxes=not isinstance(architecture, str)
    )
    accuracies = []
    for task in (teacher, *UPRIGHT):
        data = own if task == teacher else draw_dataset(tmp_path / task, train=1, val=12, task=task)
        arguments = {"data": str(data), "imgsz": 96, "batch": 6, "device": "cpu", "conf": 0.001, "rect": True}
        loaded = load_model(weights)[0]
        kind = teacher_validator(Labels.of_data(TASKS[task], KEYPOINTS), loaded)
        for model in (weights, loaded):
            metrics = validate(model, arguments, task=teacher, validator=kind).metrics
            accuracies.append((metrics.box.map, metrics.box.map50))
    assert accuracies[0][1] > 0
    torch.testing.assert_close(torch.tensor(accuracies), torch.tensor(accuracies[:1] * 8), rtol=0, atol=1e-6)
