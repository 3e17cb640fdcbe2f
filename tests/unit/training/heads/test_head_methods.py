"""What the methods that compare heads need of student and teacher."""

from __future__ import annotations

import pytest

from fgd_yolo.methods.head_loss import COMPARED_OUTPUT, HEAD_TERMS
from fgd_yolo.task_table import TASKS, task_of_yaml
from fgd_yolo.training.heads.head_methods import missing_dfl, terms_of_methods
from fgd_yolo.training.teachers.other_tasks import teachable_terms
from fgd_yolo.ultralytics import read_architecture


def model(name: str):
    return task_of_yaml(read_architecture(name)).model(name, nc=3, verbose=False)


@pytest.mark.parametrize(
    ("student", "teacher", "terms"),
    [
        ("yolov8n.yaml", "yolo11n.yaml", "bckd_cls bckd_box ld dfine crosshead"),
        ("yolov8n.yaml", "yolo26n.yaml", "bckd_cls bckd_box crosshead"),
        ("yolo26n.yaml", "yolo26n.yaml", "bckd_cls bckd_box crosshead"),
        ("yolov8n-obb.yaml", "yolov8n-obb.yaml", "bckd_cls bckd_box ld dfine crosshead"),
        ("yolov8n.yaml", "yolov8n-obb.yaml", "bckd_cls crosshead"),
        ("yolov8n.yaml", "yolov8n-seg.yaml", "bckd_cls bckd_box ld dfine crosshead"),
        ("yolov8n.yaml", "rtdetr-resnet50.yaml", ""),
        ("rtdetr-resnet50.yaml", "yolov8n.yaml", "crosshead"),
    ],
)
def test_a_pair_has_the_terms_whose_outputs_both_heads_predict(student, teacher, terms):
    student, teacher = model(student), model(teacher)
    taught, _ = teachable_terms(student, teacher)
    assert terms_of_methods(taught, student, teacher) == tuple(terms.split())


def test_every_term_belongs_to_a_task_or_compares_an_output_that_a_term_of_every_task_does():
    of_tasks = [set(task.head_terms) for task in TASKS.values()]
    assert {*HEAD_TERMS} == set.union(*of_tasks) | {*COMPARED_OUTPUT}
    assert {*COMPARED_OUTPUT.values()} <= set.intersection(*of_tasks)


def test_missing_dfl_names_the_sides_and_the_remedy():
    problem = missing_dfl({"ld", "dfine", "cls"}, 1, {"a.pt": 16, "b.pt": 1})
    assert problem == (
        "ld and dfine compare the distributions of box edges (DFL), which need as many bins on both sides: the student "
        "has no DFL, teacher a.pt has 16 bins, teacher b.pt has no DFL"
    )
    assert missing_dfl({"ld"}, 16, {"a.pt": 8}).startswith("ld compares the distributions")
    assert "the student has 16 bins, teacher a.pt at 640 px has bins of another unit" in missing_dfl(
        {"ld"}, 16, {"a.pt at 640 px": 0}
    )


@pytest.mark.parametrize(("asked", "student", "teachers"), [({"ld"}, 16, (1, 16)), ({"cls", "bckd_box"}, 1, (16,))])
def test_nothing_is_missing_if_one_teacher_has_the_students_bins_or_none_are_compared(asked, student, teachers):
    assert missing_dfl(asked, student, {f"{bins}.pt": bins for bins in teachers}) is None
