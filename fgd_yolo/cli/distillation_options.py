"""The options of a distillation, such as `features.fg_weight`, as options of a parser; from the models of `config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from fgd_yolo.checked_options import Options
from fgd_yolo.cli.assignment_parser import AssignmentParser
from fgd_yolo.config import METHOD_OPTIONS, FeatureOptions, FGDConfig
from fgd_yolo.console import offer

# Defaults depend on these: their values, and what the help says of each.
_CONDITIONS = {
    "features.method": {method: f"for {method}" for method in METHOD_OPTIONS},
    "features.scale": {"paper": "with features.scale=paper"},
}


def add_distillation_options(parser: AssignmentParser) -> None:
    """Add all options of `FGDConfig` to a parser, in groups."""
    conditions = {text: {name: value} for name, values in _CONDITIONS.items() for value, text in values.items()}
    defaults = {text: FGDConfig.from_dict(options).flat() for text, options in conditions.items()}
    for title, description, fields in _groups():
        group = parser.add_argument_group(title, description)
        for name, field in fields.items():
            values = {text: options[name] for text, options in defaults.items() if name in options}
            choices = _choices(name, field)
            help_text = _help(name, field, values).replace("%", "%%")
            action = group.add_argument(f"--{name}", metavar=_metavar(field, choices), help=help_text)
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
        models = [FeatureOptions, *METHOD_OPTIONS.values()] if model is FeatureOptions else [model]
        fields: dict[str, FieldInfo] = {}
        for part in models:
            for option, entry in part.model_fields.items():
                fields.setdefault(f"{name}.{option}", entry)
        groups.append((f"distillation: {name}", _text(field), fields))
    return [*groups, ("distillation: classes and pictures", None, ungrouped)]


def _help(name: str, field: FieldInfo, values: Mapping[str, Any]) -> str:
    """Return methods, description and default of an option, whose defaults are given by their condition."""
    owners = [method for method, text in _CONDITIONS["features.method"].items() if text in values]
    prefix = "" if len(owners) == len(METHOD_OPTIONS) else f"({', '.join(owners)} only) "
    text = _meaning(name, field)
    if "default" in text:
        return f"{prefix}{text}"
    default = next(iter(values.values()))
    others = [] if name in _CONDITIONS else [f"{value} {when}" for when, value in values.items() if value != default]
    return f"{prefix}{text} (default: {', '.join([str(default), *others])})"


def _meaning(name: str, field: FieldInfo) -> str:
    """Return the description of an option, for each method where they differ."""
    option = name.removeprefix(f"{FeatureOptions.group}.")
    fields = {method: model.model_fields.get(option) for method, model in METHOD_OPTIONS.items()}
    texts = {method: text for method, entry in fields.items() if entry and (text := _text(entry))}
    if option == name or len(set(texts.values())) < 2:
        return _text(field).removesuffix(".")
    return "; ".join(f"{method}: {text.removesuffix('.')}" for method, text in texts.items())


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").replace("`", "").split())


def _choices(name: str, field: FieldInfo) -> tuple[str, ...]:
    if name == "features.method":
        return tuple(METHOD_OPTIONS)
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    return ("True", "False") if field.annotation is bool else ()


def _metavar(field: FieldInfo, choices: tuple[str, ...]) -> str:
    if choices:
        return "BOOL" if field.annotation is bool else "|".join(choices)
    if get_origin(field.annotation) is dict:
        return "TEACHER=DATA,..."
    return "N" if field.annotation is int else "F"
