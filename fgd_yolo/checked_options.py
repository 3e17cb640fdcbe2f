"""Options as pydantic models, and pydantic's errors as one-line messages with the option, the value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fgd_yolo.errors import UsageError, close_match, nearest

Model = TypeVar("Model", bound="Options")

# Messages by pydantic's error type.
_PROBLEMS = {
    "missing": "is missing",
    **dict.fromkeys(["float_type", "float_parsing"], "must be a number"),
    **dict.fromkeys(["int_type", "int_parsing", "int_from_float"], "must be an integer"),
    **dict.fromkeys(["bool_type", "bool_parsing"], "must be true or false"),
    "string_type": "must be a string",
    "string_too_long": "must have at most {max_length} characters",
    "list_type": "must be a list",
    "path_type": "must be a path",
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
    """Base class of options: immutable, and checked when they are created.

    Types are strict: neither text nor a bool is a number, and NaN and infinity are refused.

    Raises:
        UsageError: an unknown option (the message names the closest known one) or a wrong value.
    """

    # The docstring below a field is its description, for --help and the reference.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    group: ClassVar[str] = ""
    """Name of the group that these options are in messages, such as `features`; empty at the top level."""

    def __init__(self, **options: Any):
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise UsageError(first_problem(error, self.option_names(), group=self.group)) from None

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of all options in messages and on the command line, those of groups with a dot."""
        prefix = f"{cls.group}." if cls.group else ""
        names = []
        for name, field in cls.model_fields.items():
            model = field.annotation
            grouped = isinstance(model, type) and issubclass(model, Options) and model.group
            names += model.option_names() if grouped else [f"{prefix}{name}"]
        return names

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given, not completed by defaults."""
        return {name: value for name, value in self if name in self.model_fields_set}

    def replace(self: Model, **changes: Any) -> Model:
        """Return a copy with changes, checked again; defaults that depend on a changed option follow it."""
        return type(self)(**{**self.given, **changes})


def first_problem(
    error: ValidationError,
    known: Iterable[str],
    *,
    group: str = "",
    show_value: bool = True,
    problems: Mapping[str, str] | None = None,
) -> str:
    """Return a one-line message about an unknown option, if there is one, or about the first other problem.

    A validator's `ValueError` has a message that continues the name of the option: "must be ..., got ...".

    Args:
        error: pydantic's error.
        known: options that exist, for the closest match.
        group: group of the options, which precedes the name of the option with a dot.
        show_value: whether to show the value; False if it may hold a password.
        problems: messages by pydantic's error type that replace the usual ones.
    """
    problem = _most_telling(error.errors(include_url=False))
    path = [str(part) for part in problem["loc"] if not _is_tag(part)]
    kind_of_problem, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    name = ".".join([group, *path] if group else path)
    if kind_of_problem == "extra_forbidden":
        return unknown_option(name, known)
    if kind_of_problem == "literal_error":
        return unknown_choice(name, value, re.findall(r"'([^']*)'", context["expected"]))
    if kind_of_problem == "value_error":
        return f"{name} {context['error']}"
    words = {**_PROBLEMS, **(problems or {})}.get(kind_of_problem)
    if words is None:
        return f"{name}: {problem['msg']}"
    got = f", got {value!r}{_exponent_hint(value)}" if show_value and kind_of_problem != "missing" else ""
    return f"{name} {words.format(**context)}{got}"


def _most_telling(problems: Sequence[Any]) -> Any:
    """Return the problem to report: unknown options come first, consequences of other problems last."""
    # pydantic reports int_type for every value that may be an integer or text but is wrong as text, and
    # default_factory_not_called for an option whose default depends on a wrong option.
    rank = {"extra_forbidden": 0, "int_type": 2, "default_factory_not_called": 3}
    return min(problems, key=lambda problem: rank.get(problem["type"], 1))


def _is_tag(part: int | str) -> bool:
    """Return whether pydantic added this part to a location: the member of a union, or the mark of a key."""
    return part in ("int", "str", "constrained-str", "[key]") or str(part).startswith("function-")


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Return the message about an option that does not exist; dots in the name separate nested options."""
    known = list(known)
    group, _, option = name.rpartition(".")
    # Two groups may have an option of the same name: that of the same group comes first.
    ordered = sorted(reversed(known), key=lambda other: other.rpartition(".")[0] == group)
    names = {other.rpartition(".")[2]: other for other in ordered}
    near = nearest(option, names)
    hint = f", did you mean '{names[near]}'?" if near else f" (known: {', '.join(known)})"
    return f"unknown option '{name}'{hint}"


def unknown_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return the message about a value that is not one of the choices of an option."""
    choices = list(choices)
    return f"{name} '{value}' is unknown{close_match(str(value), choices)} (known: {', '.join(choices)})"


def _exponent_hint(value: Any) -> str:
    """Return a hint if YAML read a number as text, because its exponent has no sign or its mantissa no dot."""
    match = _EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    integer, fraction, sign, exponent = match.groups()
    return f" (YAML reads {value} as text: write {integer}{fraction or '.0'}e{sign or '+'}{exponent})"
