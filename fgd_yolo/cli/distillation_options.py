"""The options of a distillation, such as `features.fg_weight`, as options of a parser; from the models of `config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from fgd_yolo.checked_options import Options
from fgd_yolo.cli.assignment_parser import AssignmentParser
from fgd_yolo.config import METHOD_OPTIONS, PLAIN, FGDConfig
from fgd_yolo.config.method_options import GROUPS, methods_of_group
from fgd_yolo.console import offer

# Options on which the defaults of others depend, by what the help says of them.
_CONDITIONS = {
    **{f"for {method}": {"method": method} for method in METHOD_OPTIONS},
    "with features.scale=paper": {"method": "fgd", "features.scale": "paper"},
}


def add_distillation_options(parser: AssignmentParser) -> None:
    """Add all options of `FGDConfig` to a parser, in groups."""
    conditions = {"": {}, **_CONDITIONS}
    defaults = {text: FGDConfig.from_dict(options).flat() for text, options in conditions.items()}
    for title, description, fields in _groups():
        group = parser.add_argument_group(title, description)
        for name, field in fields.items():
            values = {text: options[name] for text, options in defaults.items() if name in options}
            choices = _choices(name, field)
            help_text = _help(name, field, values).replace("%", "%%")
            action = group.add_argument(f"--{name}", metavar=_metavar(name, field, choices), help=help_text)
            if choices:
                offer(action, choices)


def _groups() -> list[tuple[str, str | None, dict[str, FieldInfo]]]:
    """Return title, description, and fields by the name of their option for each group; ungrouped options come last."""
    groups, ungrouped = [], {}
    for name, field in FGDConfig.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, Options)):
            ungrouped[name] = field
            continue
        models = [model, *(METHOD_OPTIONS[method] for method in _methods(model))]
        fields: dict[str, FieldInfo] = {}
        for part in models:
            for option, entry in part.model_fields.items():
                fields.setdefault(f"{name}.{option}", entry)
        groups.append((f"distillation: {name}", _text(field), fields))
    return [("distillation: method, teacher, frames and pictures", None, ungrouped), *groups]


def _methods(model: type[Options]) -> tuple[str, ...]:
    """Return the methods whose options are in a group; none for other groups."""
    return methods_of_group(tuple(METHOD_OPTIONS), model) if model in GROUPS else ()


def _help(name: str, field: FieldInfo, values: Mapping[str, Any]) -> str:
    """Return methods, description and default of an option, whose defaults are given by their condition."""
    owners = [method for method in METHOD_OPTIONS if name in METHOD_OPTIONS[method].option_names()]
    shared = not owners or any(name in group.option_names() for group in GROUPS)
    prefix = "" if shared else f"({', '.join(owners)} only) "
    text = _text(field).removesuffix(".")
    if name == "method":
        text = f"{text}: {', '.join([*METHOD_OPTIONS, PLAIN])}"
    elif "default" in text:
        return f"{prefix}{text}"
    default = values[""] if "" in values else next(iter(values.values()))
    is_condition = any(name in options for options in _CONDITIONS.values())
    others = {} if is_condition else {when: value for when, value in values.items() if value != default}
    conditions = {value: [when for when, other in others.items() if other == value] for value in others.values()}
    listed = [f"{value} {_joined(when)}" for value, when in conditions.items()]
    return f"{prefix}{text} (default: {', '.join([str(default), *listed])})"


def _joined(conditions: list[str]) -> str:
    """Return conditions as one: `for fitnet, cwd`."""
    return ", ".join([conditions[0], *(condition.removeprefix("for ") for condition in conditions[1:])])


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").replace("`", "").split())


def _choices(name: str, field: FieldInfo) -> tuple[str, ...]:
    if name == "method":
        return (*METHOD_OPTIONS, PLAIN)
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    return ("True", "False") if field.annotation is bool else ()


def _metavar(name: str, field: FieldInfo, choices: tuple[str, ...]) -> str:
    if name == "method":
        return "METHOD+METHOD"
    if choices:
        return "BOOL" if field.annotation is bool else "|".join(choices)
    if get_origin(field.annotation) is dict:
        return "TEACHER=DATA,..."
    return "N" if field.annotation is int else "F"
