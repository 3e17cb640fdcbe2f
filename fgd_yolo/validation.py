"""Options as pydantic models, and pydantic's errors as one line that names the option, the value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from fgd_yolo.errors import FGDError, UsageError, close_match

try:
    from pydantic import BaseModel, ConfigDict, ValidationError
except ModuleNotFoundError as error:
    raise FGDError(f"{error.name} is not installed; run pip install 'fgd_yolo[train]'") from error

Model = TypeVar("Model", bound="Options")

# What pydantic reports, by type, in our words; `got` is added where the value may be shown.
_PROBLEMS = {
    "missing": "is missing",
    "float_type": "must be a number",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "dict_type": "must be a mapping of options",
    "model_type": "must be a mapping of options",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
}
_EXPONENT = re.compile(r"([+-]?\d+)(\.\d*)?e([+-]?)(\d+)", re.IGNORECASE)


class Options(BaseModel):
    """Options that are checked when they are created and do not change afterwards.

    Types are strict: text is not a number, a bool is neither, and NaN and infinity are refused.

    Raises:
        UsageError: an unknown option (the message names the closest known one) or a wrong value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    kind: ClassVar[str] = "option"

    def __init__(self, **options: Any):
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise UsageError(first_problem(error, type(self).model_fields, kind=self.kind)) from None

    def replace(self: Model, **changes: Any) -> Model:
        """Return a copy with changes, checked again; defaults that depend on a changed option follow it."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})


def first_problem(
    error: ValidationError, known: Iterable[str], *, kind: str = "option", show_value: bool = True
) -> str:
    """Return what is wrong as one line: an unknown option if there is one, otherwise pydantic's first problem.

    Args:
        error: of pydantic.
        known: options that exist where the problem is, for the closest match.
        kind: what an option is called in the message.
        show_value: whether the value may be repeated; False where it may hold a password.
    """
    problems = error.errors(include_url=False)
    problem = next((entry for entry in problems if entry["type"] == "extra_forbidden"), problems[0])
    name, value, context = ".".join(map(str, problem["loc"])), problem["input"], problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        return unknown_option(name, known, kind)
    if problem["type"] == "literal_error":
        return unknown_choice(name, value, re.findall(r"'([^']*)'", context["expected"]))
    if problem["type"] == "value_error":
        return f"{name}: {context['error']}"
    words = _PROBLEMS.get(problem["type"])
    if words is None:
        return f"{name}: {problem['msg']}"
    got = f", got {value!r}{_exponent_hint(value)}" if show_value and problem["type"] != "missing" else ""
    return f"{name} {words.format(**context)}{got}"


def unknown_option(name: str, known: Iterable[str], kind: str = "option") -> str:
    """Return the message about an option that does not exist."""
    known = list(known)
    hint = close_match(name, known) or f" (known: {', '.join(known)})"
    return f"unknown {kind} '{name}'{hint}"


def unknown_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return the message about a value that is not one of the choices of an option."""
    choices = list(choices)
    return f"{name} '{value}' is unknown{close_match(str(value), choices)} (known: {', '.join(choices)})"


def _exponent_hint(value: Any) -> str:
    """Say why a number is text: YAML wants a dot in the mantissa and a sign in the exponent."""
    match = _EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    whole, fraction, sign, exponent = match.groups()
    return f" (YAML reads {value} as text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent})"
