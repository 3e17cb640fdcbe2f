"""Which classes each of the loaded teachers teaches."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.training.teachers.load_teachers import _warn_of_idle, check_channels, load_teachers
from fgd_yolo.ultralytics import load_model
from fixtures import CLASSES, rename_classes

DATA = {"names": dict(enumerate(CLASSES)), "channels": 3}
ARGUMENTS = SimpleNamespace(classes=None, single_cls=False)


@pytest.fixture
def load(teacher_pt, tmp_path):
    """Load teachers of the given class names, with a class map and options, and return them."""

    def run(*teachers, class_map=None, **options):
        files = [rename_classes(teacher_pt, tmp_path / f"{n}.pt", *own.split()) for n, own in enumerate(teachers)]
        student, _ = load_model(teacher_pt)
        return load_teachers(
            files,
            student,
            DATA,
            FGDConfig(map=class_map, **{"method": "fgd+heads", **options}),
            ARGUMENTS,
            torch.device("cpu"),
        )[0]

    return run


def test_other_channels_stop():
    with pytest.raises(FGDError, match="1-channel images, the data has 3"):
        check_channels(SimpleNamespace(yaml={"channels": 1}), 3)


def test_each_teacher_teaches_the_classes_that_it_knows_by_name_or_map(load):
    teachers = load("cat block dog", "ball cat wedge", class_map={"ball": "disc"})
    assert [teacher.known for teacher in teachers] == [[1], [0, 2]]


def test_beside_a_fine_tuned_teacher_the_map_may_name_classes_that_it_had_before(load):
    fine_tuned, other = load("disc block wedge", "cat block dog", class_map={"ball": "disc"})
    assert (fine_tuned.known, other.known) == (None, [1])
    with pytest.raises(UsageError, match="teachers have no class 'ball'"):
        load("cat block dog", "disc cat dog", class_map={"ball": "disc"})


def idle(caplog) -> list[str]:
    """Return the warnings about teachers that teach nothing."""
    return [record.getMessage() for record in caplog.records if "teaches nothing:" in record.getMessage()]


def test_one_of_several_teachers_that_knows_no_class_teaches_only_the_features_if_these_are_its_own(load, caplog):
    first, second = load("disc cat dog", "ant bee cow")
    assert (first.known, second.known) == ([0], [])
    (warning,) = idle(caplog)
    assert "teacher 1.pt teaches nothing: it knows no class that is trained, and features are those of" in warning
    caplog.clear()
    load("disc cat dog", "ant bee cow", features={"teacher": 2})
    assert not idle(caplog)


def test_without_heads_every_teacher_but_that_of_the_features_is_idle(load, caplog):
    load("disc block wedge", "disc block cat", "disc cat dog", features={"teacher": 2}, method="fgd")
    assert [warning.split(" teaches")[0].split()[-1] for warning in idle(caplog)] == ["0.pt", "2.pt"]


def test_a_second_teacher_whose_head_cannot_be_imitated_is_idle(load, caplog):
    """As that of an RT-DETR, or of a teacher whose images are of a size without a shared grid."""
    first, second = load("disc block wedge", "disc block cat")
    second.terms = ()
    _warn_of_idle([first, second], FGDConfig(method="fgd+heads"), frames=False)
    (warning,) = idle(caplog)
    assert warning.endswith(
        "1.pt teaches nothing: its head cannot be imitated, and features are those of teacher 1; leave it out"
    )


@pytest.fixture
def without_dfl(teacher_pt):
    """Load the teacher for a student without DFL, by methods."""

    def run(method: str):
        student = DetectionModel("yolo26n.yaml", nc=len(CLASSES), verbose=False)
        config = FGDConfig(method=method)
        return load_teachers([teacher_pt], student, DATA, config, ARGUMENTS, torch.device("cpu"))

    return run


def test_a_method_that_needs_dfl_is_refused_if_it_is_the_only_one_and_otherwise_warned_of(without_dfl, caplog):
    problem = (
        "dfine compares the distributions .*: the student has no DFL, teacher teacher.pt has 16 bins; use bckd_box"
    )
    with pytest.raises(UsageError, match=problem):
        without_dfl("dfine")
    for method in ("fgd+dfine", "dfine+bckd_cls"):
        caplog.clear()
        without_dfl(method)
        assert [record for record in caplog.records if re.search(problem, record.getMessage())], method


def test_cross_head_imitation_has_one_teacher_and_the_others_are_idle(load, caplog):
    load("disc block wedge", "disc block wedge", method="crosshead")
    (warning,) = idle(caplog)
    assert "teacher 1.pt teaches nothing: no head is imitated, and features are those of teacher 1" in warning
    caplog.clear()
    load("disc block wedge", "disc block wedge", method="heads+crosshead")
    assert not idle(caplog)


def test_a_weight_without_effect_is_warned_of(load, caplog):
    load("disc block wedge", heads={"mask_weight": 2})
    assert "heads.mask_weight has no effect: a student for detect predicts no masks" in caplog.text
