"""pydantic's errors become one-line messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field, ValidationError, field_validator

from fgd_yolo.checked_options import Options, first_problem
from fgd_yolo.errors import UsageError


class Example(Options):
    rate: float = Field(default=1.0, ge=0, lt=8)
    limit: float | None = Field(default=None, gt=0, le=1)
    count: int = Field(default=1, ge=1)
    active: bool = True
    name: str = "a"
    kind_of: Literal["near", "far"] = "near"
    rest: dict[str, Any] = Field(default_factory=dict)
    half: float = Field(default_factory=lambda options: options["rate"] / 2)

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name == "!":
            raise ValueError("must have letters")
        return name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": "1e-4"}, "rate must be a number, got '1e-4' (YAML reads 1e-4 as text: write 1.0e-4)"),
        ({"rate": "2.5e3"}, "rate must be a number, got '2.5e3' (YAML reads 2.5e3 as text: write 2.5e+3)"),
        ({"rate": "much"}, "rate must be a number, got 'much'"),
        ({"rate": True}, "rate must be a number, got True"),
        ({"rate": None}, "rate must be a number, got None"),
        ({"rate": float("nan")}, "rate must be a finite number, got nan"),
        ({"rate": float("inf")}, "rate must be a finite number, got inf"),
        ({"rate": -1}, "rate must be at least 0, got -1"),
        ({"rate": 8}, "rate must be below 8, got 8"),
        ({"limit": 0.0}, "limit must be above 0, got 0.0"),
        ({"limit": 1.5}, "limit must be at most 1, got 1.5"),
        ({"count": 2.5}, "count must be an integer, got 2.5"),
        ({"count": True}, "count must be an integer, got True"),
        ({"active": 1}, "active must be true or false, got 1"),
        ({"name": 5}, "name must be a string, got 5"),
        ({"name": "!"}, "name must have letters"),
        ({"kind_of": "fa"}, "kind_of 'fa' is unknown, did you mean 'far'? (known: near, far)"),
        ({"rest": [1]}, "rest must be a mapping of options, got [1]"),
        ({"cuont": 1}, "unknown option 'cuont', did you mean 'count'?"),
        ({"zzz": 1}, "unknown option 'zzz' (known: rate, limit, count, active, name, kind_of, rest, half)"),
        ({"rate": -1, "cuont": 1}, "unknown option 'cuont', did you mean 'count'?"),
    ],
)
def test_a_problem_is_one_line_that_names_option_value_and_remedy(options, message):
    with pytest.raises(UsageError) as caught:
        Example(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["1e-4", "1e4", "-3E5", "2.5e3", "1.e3"])
def test_the_number_that_the_hint_proposes_is_one_for_yaml(text):
    assert isinstance(yaml.safe_load(text), str)
    with pytest.raises(UsageError, match=r"write \S+\)$") as caught:
        Example(rate=text)
    assert yaml.safe_load(str(caught.value).rsplit(" ", 1)[1].rstrip(")")) == float(text)


def test_a_missing_option_and_a_secret_value_are_named_without_the_value():
    class Secret(Example):
        token: Annotated[str, Field(repr=False)]

    for options, message in (({}, "token is missing"), ({"token": 12345}, "token must be a string")):
        with pytest.raises(ValidationError) as caught:
            Secret.__pydantic_validator__.validate_python(options, self_instance=Secret.__new__(Secret))
        assert first_problem(caught.value, Secret.model_fields, show_value=False) == message


def test_options_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Example().rate = 2.0


def test_a_copy_with_changes_is_checked_and_its_dependent_defaults_follow():
    assert Example(rate=2.0).replace(rate=4.0).half == 2.0
    assert Example(rate=2.0, half=0.5).replace(rate=4.0).half == 0.5
    with pytest.raises(UsageError, match="rate must be at least 0"):
        Example().replace(rate=-1.0)
