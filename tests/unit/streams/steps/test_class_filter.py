from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.steps.class_filter import ClassFilter, resolve_classes
from stream_results import NAMES, make_result

TWO = ((1, 0.9, (8, 8, 24, 20)), (2, 0.4, (30, 10, 40, 30)))


@pytest.mark.parametrize(("classes", "left"), [(["wedge"], [2]), ([1, "2"], [1, 2]), (["disc"], []), ([], [])])
def test_only_objects_of_selected_classes_are_kept(classes, left):
    result = make_result(objects=TWO)
    ClassFilter(NAMES, classes)(result)
    assert result.detections.class_id.tolist() == left
    assert result.detections.xyxy.shape == (len(left), 4)


def test_a_class_that_the_model_does_not_know_is_refused_with_a_close_match():
    with pytest.raises(UsageError, match=r"class 'wegde' is unknown.*wedge"):
        ClassFilter(NAMES, ["wegde"])


# As in a data set whose classes are numbered in the order of their folders' names.
DIGITS = {0: "1", 1: "10", 2: "11", 3: "2"}
CELLS = {0: "cell", 1: "rod", 2: "cell"}


@pytest.mark.parametrize("word", ["2", 2, "1"])
def test_a_word_that_is_one_class_by_number_and_another_by_name_is_refused_with_both_alternatives(word):
    with pytest.raises(UsageError, match=rf"'{word}' is ambiguous.*id:{word}.*name:{word}"):
        resolve_classes(DIGITS, [word])


@pytest.mark.parametrize(
    ("names", "words", "labels"),
    [
        (DIGITS, ["id:2"], [2]),
        (DIGITS, ["name:2"], [3]),
        (DIGITS, ["10", "0"], [0, 1]),  # no other reading exists
        ({0: "0", 1: "1"}, ["1", 0], [0, 1]),  # both readings are the same class
        (CELLS, ["name:cell"], [0, 2]),
        (CELLS, ["id:2"], [2]),
        ({0: "id:1", 1: "b"}, ["id:1"], [1]),
        ({0: "id:1", 1: "b"}, ["name:id:1"], [0]),
        ({0: "name:b", 1: "b"}, ["name:name:b"], [0]),
        ({0: "red, round", 1: " b"}, ["red, round", "name: b"], [0, 1]),
        ({}, ["7", "id:9"], [7, 9]),  # a file that names no classes
    ],
)
def test_the_prefixes_id_and_name_are_unambiguous(names, words, labels):
    assert resolve_classes(names, words) == labels


def test_a_name_of_several_classes_is_refused_with_their_numbers():
    with pytest.raises(UsageError, match=r"'cell' is ambiguous: 2 classes have .* id:0, id:2 .*name:cell"):
        resolve_classes(CELLS, ["cell"])


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("-1", "the model has classes 0 to 2"),
        (3, "the model has classes 0 to 2"),
        ("9" * 5000, "the model has classes 0 to 2"),
        ("id:3", "the model has classes 0 to 2"),
        ("id:-1", "the model has classes 0 to 2"),
        ("id:block", "the model has classes 0 to 2"),
        ("id:", "the model has classes 0 to 2"),
        ("id:٢", "the model has classes 0 to 2"),
        ("02", "the model has"),
        ("name:2", "is unknown"),
        ("BLOCK", "did you mean 'block'?"),
        (" block ", "did you mean 'block'?"),
        ("name:Block", "did you mean 'block'?"),
        ("disc,block", "separate several classes with spaces"),
        ("", "is unknown"),
        (True, "neither a name nor a number"),
        (1.0, "neither a name nor a number"),
        ("x" * 100_000, "is unknown"),
        ("\x1b[2J", "is unknown"),
    ],
)
def test_an_unknown_class_is_one_short_line(word, complaint):
    with pytest.raises(UsageError) as refusal:
        resolve_classes(NAMES, [word])
    output = str(refusal.value)
    assert complaint in output and len(output) < 250 and output.isprintable()
