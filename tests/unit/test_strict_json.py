from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fgd_yolo.strict_json import finite, to_json


def strict(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_null_wherever_it_stands(bad):
    value = {"a": bad, "b": [1, (2.5, bad)], "c": {"d": bad, "e": "NaN", "f": None, "g": True, "h": 10**400}}
    expected = {"a": None, "b": [1, [2.5, None]], "c": {"d": None, "e": "NaN", "f": None, "g": True, "h": 10**400}}
    assert strict(to_json(value)) == expected
    assert finite(value) == expected


def test_what_is_finite_is_written_as_json_writes_it():
    value = {"a": [1, 2.5, "x"], "b": None}
    assert to_json(value, indent=2) == json.dumps(value, indent=2)


def test_a_key_that_is_not_finite_is_text():
    assert list(strict(to_json({math.inf: 1}))) == ["inf"]
