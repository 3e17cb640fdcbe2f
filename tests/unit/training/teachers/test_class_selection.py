"""Which classes a training selects and a teacher teaches, and what is left without a shared class."""

from __future__ import annotations

import pytest

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError
from fgd_yolo.training.teachers.class_selection import describe_classes, selected_classes, taught_classes, without_heads
from training import OFF


@pytest.mark.parametrize(
    ("classes", "single_cls", "selected"),
    [(None, False, None), ([1], False, [1]), (1, False, [1]), ([2, 0, 2], False, [0, 2]), ([2], True, None)],
)
def test_the_classes_that_a_training_selects(classes, single_cls, selected):
    assert selected_classes(classes, single_cls, count=3) == selected


@pytest.mark.parametrize("classes", [[], [3], -1, ["1"]])
def test_an_empty_or_unknown_selection_of_classes_is_refused(classes):
    with pytest.raises(FGDError, match="the data has the classes 0 to 2"):
        selected_classes(classes, False, count=3)


@pytest.mark.parametrize(
    ("known", "selected", "taught"),
    [
        ([0, 1, 2], None, None),
        ([0, 2], None, [0, 2]),
        ([0, 2], [1, 2], [2]),
        ([0, 1, 2], [1], [1]),
        ([0], [1], []),
        ([], None, []),
    ],
)
def test_a_teacher_teaches_the_selected_classes_that_it_knows(known, selected, taught):
    assert taught_classes(known, selected, count=3) == taught


def test_known_and_unknown_classes_are_listed():
    names = {0: "person", 1: "car", 2: "cat"}
    line = describe_classes("coco.pt", [1, 0], names)
    assert "coco.pt knows 2 of the 3 classes of the data: car, person; unknown: cat" in line
    assert describe_classes("coco.pt", [0, 1, 2], names).endswith("all 3 classes (person, car, cat) of the data")


def test_without_a_shared_class_the_features_still_teach_with_one_warning(caplog):
    config = without_heads(FGDConfig(method="fgd+heads"), ["coco.pt"], {0: "dog"}, {0: "cat", 1: "emu"})
    assert config == FGDConfig(method="fgd")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "coco.pt has 1 class (dog), none of the data's 2 classes (cat, emu)" in record.message
    assert "map=dog=cat" in record.message


def test_without_a_shared_class_heads_alone_can_teach_nothing():
    config = FGDConfig.from_dict({**OFF, "method": "fgd+heads"})
    with pytest.raises(FGDError, match=r"1 class \(dog\), none of the data's 1 class \(cat\).*map=dog=cat") as caught:
        without_heads(config, ["coco.pt"], {0: "dog"}, {0: "cat"})
    assert "\n" not in str(caught.value)
