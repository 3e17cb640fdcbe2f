"""Train arguments of Ultralytics are parsed and checked before a training starts."""

from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.train_arguments import (
    check_train_args,
    count_steps,
    parse_assignments,
    parse_value,
    refuse_unsupported,
    ultralytics_defaults,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", None),
        ("none", None),
        ("", None),
        ("True", True),
        ("false", False),
        ("3", 3),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("-1", -1),
        ("[0, 1]", [0, 1]),
        ("[16,8]", [16, 8]),
        ("AdamW", "AdamW"),
        ("a: b", "a: b"),
        ("2024-01-01", "2024-01-01"),
        ("[", "["),
    ],
)
def test_values_are_parsed_as_yaml_or_as_ultralytics_writes_them(text, value):
    read = parse_value(text)
    assert read == value and type(read) is type(value)


def test_assignments_keep_equal_signs_in_values():
    words = ["seed=7", "pretrained=a=b.pt"]
    read = {"seed": 7, "pretrained": "a=b.pt"}
    assert parse_assignments(words) == read


@pytest.mark.parametrize("word", ["imgsz", "=3", "--", "imgsz:320"])
def test_a_word_that_is_not_an_assignment_is_refused(word):
    with pytest.raises(UsageError, match="name=value"):
        parse_assignments([word])


def test_an_argument_given_twice_is_refused():
    with pytest.raises(UsageError, match="imgsz given more than once"):
        parse_assignments(["imgsz=1", "imgsz=1"])


def test_the_defaults_are_those_that_ultralytics_uses():
    from ultralytics.utils import DEFAULT_CFG_DICT

    assert ultralytics_defaults() == DEFAULT_CFG_DICT


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"imgz": 320}, "did you mean 'imgsz'"),
        ({"teacher": "x.pt"}, "write --teacher x.pt"),
        ({"model": "x.pt"}, "--student"),
        ({"resume": True}, "--resume RUN"),
        ({"exist_ok": True}, "overwrite"),
        ({"save": False}, "save=False is not allowed: a run needs its checkpoints"),
        ({"data": "x.yaml"}, "beside student and teacher"),
        ({"quantize": 8}, "quantize=8"),
    ],
)
def test_reserved_and_unsupported_arguments_are_refused(arguments, part):
    with pytest.raises(UsageError, match=part):
        check_train_args(arguments)


def test_an_option_of_the_distillation_is_not_taken_for_a_train_argument():
    with pytest.raises(UsageError, match=r"'map' is an option of the distillation.*recipe=FGDConfig\(map="):
        check_train_args({"map": {"truck": "car"}})


def test_all_other_arguments_of_ultralytics_are_accepted():
    arguments = {"epochs": 1, "lr0": 0.1, "exist_ok": False, "resume": False, "save": True, "task": "detect"}
    assert check_train_args(arguments) is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"distill_model": "yolov8s.pt"}, "distill_model"),
        ({"quantize": 8}, "quantize=8"),
        ({"data": ["a.yaml", "b.yaml"]}, "list of data sets"),
        ({"save_dir": "x", "project": "runs/detect/multitrain2"}, "list of data sets"),
    ],
)
def test_unsupported_train_arguments_are_refused_in_one_line(arguments, named):
    with pytest.raises(UsageError, match=named) as refusal:
        refuse_unsupported(arguments)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"device": "0", "task": "detect", "quantize": None, "data": "a.yaml", "distill_model": None},
        {"device": 0},
        {"device": "cpu"},
        {"device": ""},
        {"device": [0]},
        {"device": "0,1"},
        {"device": [0, 1]},
        {"device": "cuda:1"},
        {"quantize": 16},
    ],
)
def test_supported_train_arguments_are_accepted(arguments):
    refuse_unsupported(arguments)
    assert refuse_unsupported(arguments) is None


@pytest.mark.parametrize(
    ("train", "counted"),
    [
        ({"batch": 16, "epochs": 3}, (30, 7)),  # 10 batches of an epoch, 4 for a step of nbs=64 images
        ({"batch": 16, "epochs": 3, "nbs": 16}, (30, 30)),
        ({"batch": 128, "epochs": 2}, (4, 4)),
        ({"batch": 16, "epochs": 1, "nbs": 640}, (10, 1)),
        ({"batch": -1, "epochs": 3}, (None, None)),
        ({"batch": 0.7, "epochs": 3}, (None, None)),
        ({"batch": 16, "time": 0.5}, (None, None)),
    ],
)
def test_batches_and_optimizer_steps_follow_from_the_train_arguments(train, counted):
    assert count_steps(train, 160) == counted
