"""Which classes each of the loaded teachers teaches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import UsageError
from fgd_yolo.training.load_teachers import load_teachers
from fgd_yolo.ultralytics import load_model
from fixtures import CLASSES, rename_classes

DATA = {"names": dict(enumerate(CLASSES)), "channels": 3}
ARGUMENTS = SimpleNamespace(classes=None, single_cls=False)


@pytest.fixture
def load(teacher_pt, tmp_path):
    """Load teachers of the given class names, with a class map, and return them."""

    def run(*teachers, class_map):
        files = [rename_classes(teacher_pt, tmp_path / f"{n}.pt", *own.split()) for n, own in enumerate(teachers)]
        student, _ = load_model(teacher_pt)
        return load_teachers(files, student, DATA, FGDConfig(map=class_map), ARGUMENTS, torch.device("cpu"))[0]

    return run


def test_each_teacher_teaches_the_classes_that_it_knows_by_name_or_map(load):
    teachers = load("cat block dog", "ball cat wedge", class_map={"ball": "disc"})
    assert [teacher.known for teacher in teachers] == [[1], [0, 2]]


def test_beside_a_fine_tuned_teacher_the_map_may_name_classes_that_it_had_before(load):
    fine_tuned, other = load("disc block wedge", "cat block dog", class_map={"ball": "disc"})
    assert (fine_tuned.known, other.known) == (None, [1])
    with pytest.raises(UsageError, match="teachers have no class 'ball'"):
        load("cat block dog", "disc cat dog", class_map={"ball": "disc"})
