"""What is not supported is refused in one line; what looks like it is not."""

from __future__ import annotations

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.training.limits import refuse_unsupported


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"device": "0,1"}, "several GPUs"),
        ({"device": [0, 1]}, "several GPUs"),
        ({"device": "[0, 1]"}, "several GPUs"),
        ({"task": "segment"}, "task=segment"),
        ({"distill_model": "yolov8s.pt"}, "distill_model"),
        ({"quantize": 8}, "quantize=8"),
        ({"data": ["a.yaml", "b.yaml"]}, "list of data sets"),
        ({"save_dir": "x", "project": "runs/detect/multitrain2"}, "list of data sets"),
    ],
)
def test_refused(arguments, named):
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
        {"device": "cuda:1"},
        {"quantize": 16},
    ],
)
def test_accepted(arguments):
    refuse_unsupported(arguments)
    assert refuse_unsupported(arguments) is None
