from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fgd_yolo.strict_json import finite, to_json


def strict(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_null_at_any_depth(bad):
    value = {"a": bad, "b": [1, (2.5, bad)], "c": {"d": bad, "e": "NaN", "f": None, "g": True, "h": 10**400}}
    expected = {"a": None, "b": [1, [2.5, None]], "c": {"d": None, "e": "NaN", "f": None, "g": True, "h": 10**400}}
    assert strict(to_json(value)) == expected
    assert finite(value) == expected


def test_finite_values_are_written_as_by_json():
    value = {"a": [1, 2.5, "x"], "b": None}
    assert to_json(value, indent=2) == json.dumps(value, indent=2)


def test_a_key_that_is_not_finite_is_text():
    assert list(strict(to_json({math.inf: 1}))) == ["inf"]
