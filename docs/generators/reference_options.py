"""The reference of the options, from the models that check them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from fgd_yolo.cfg import recipe_names, recipe_text
from pydantic import BaseModel
from tables import code, prose, sentence, table

from fgd_yolo.config import METHOD_OPTIONS, FeatureOptions, FGDConfig, HeadOptions, Recipe
from fgd_yolo.config.fgd_config import CheckOptions, ScheduleOptions
from fgd_yolo.config.method_options import MethodOptions, methods_of_group
from fgd_yolo.export.exporter import export_onnx
from fgd_yolo.streams.stream_options import RunOptions, StreamOptions

_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "an integer",
    "boolean": "`true` or `false`",
    "object": "a mapping",
    "array": "a list",
    "null": "`null`",
}
_LIMITS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}


def recipe_options() -> str:
    """Return the table of what belongs to the run: models, data and train arguments."""
    return _table(Recipe, leave_out=FGDConfig.model_fields)


def feature_options() -> str:
    """Return the options of all methods that compare neck maps, then a section for each method."""
    return _group(FeatureOptions)


def head_options() -> str:
    """Return the options of all methods that compare outputs, then a section for each method."""
    return _group(HeadOptions)


def _group(group: type[MethodOptions]) -> str:
    methods = methods_of_group(tuple(METHOD_OPTIONS), group)
    ratios = {name: METHOD_OPTIONS[name]().ratio for name in methods}
    usual = group().ratio
    others = [f"{_value(ratio)} with {name}" for name, ratio in ratios.items() if ratio != usual]
    shared = _table(group, {"ratio": "<br>".join([_value(usual), *others])})
    return "\n\n".join([shared, *(_method(name, group) for name in methods)])


def _method(name: str, group: type[MethodOptions]) -> str:
    model = METHOD_OPTIONS[name]
    scales = [model(scale=scale) for scale in _choices(model, "scale")] or [model()]
    defaults = {field: _by_scale(scales, field) for field in model.model_fields}
    return f"### {name}\n\n{sentence(model.__doc__)}\n\n{_table(model, defaults, leave_out=group.model_fields)}"


def _choices(model: type[BaseModel], field: str) -> list[str]:
    return model.model_json_schema()["properties"].get(field, {}).get("enum", [])


def _by_scale(options: list[Any], field: str) -> str:
    """Return the default of an option, with the scale where it depends on it."""
    values = {entry.scale: getattr(entry, field) for entry in options} if len(options) > 1 else {}
    if field != "scale" and len(set(values.values())) > 1:
        return "<br>".join(f"{_value(value)} with scale {scale}" for scale, value in values.items())
    return _value(getattr(options[0], field))


def schedule_options() -> str:
    """Return the table of `schedule.*`."""
    return _table(ScheduleOptions)


def check_options() -> str:
    """Return the table of `checks.*`."""
    return _table(CheckOptions)


def other_options() -> str:
    """Return the table of the options of a distillation that are in no group."""
    names = FGDConfig.option_names()
    return _table(FGDConfig, leave_out=[name for name in FGDConfig.model_fields if name not in names])


def run_options() -> str:
    """Return the table of the settings of a run of streams."""
    return _table(RunOptions)


def stream_options() -> str:
    """Return the table of the settings of one stream."""
    return _table(StreamOptions)


def export_options() -> str:
    """Return the table of the options of `export_onnx`."""
    meanings = argument_descriptions(export_onnx)
    parameters = inspect.signature(export_onnx).parameters.values()
    return table(
        ("Option", "Default", "Meaning"),
        [(code(entry.name), _parameter_default(entry), prose(meanings[entry.name])) for entry in parameters],
    )


def recipes() -> str:
    """Return the table of the recipes that ship with the package."""
    names = sorted(recipe_names(), key=lambda name: name.startswith("paper"))
    return table(("Recipe", "What it is"), [(code(name), prose(_explanation(name))) for name in names])


def argument_descriptions(function: Callable[..., object]) -> dict[str, str]:
    """Return the description of each argument in the `Args:` block of a docstring."""
    block = re.search(r"^Args:\n((?:    .*\n|\n)+)", f"{inspect.getdoc(function)}\n", re.MULTILINE)
    entries = re.findall(r"^    (\w+): ((?:.*\n)(?:     .*\n)*)", block[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _table(model: type[BaseModel], defaults: Mapping[str, str] | None = None, leave_out=()) -> str:
    """Return the table of a model's fields, by the names that are typed.

    Args:
        model: the model.
        defaults: defaults that depend on other options, by field.
        leave_out: fields that are described elsewhere.
    """
    schema = model.model_json_schema(by_alias=True)["properties"]
    prefix = f"{group}." if (group := getattr(model, "group", "")) else ""
    rows = []
    for field, info in model.model_fields.items():
        if field in leave_out:
            continue
        typed = info.alias or field
        default = (defaults or {}).get(field) or _default(info)
        meaning = prose(_description(model, field))
        rows.append((code(f"{prefix}{typed}"), default, _values(schema[typed]), meaning))
    return table(("Option", "Default", "Values", "Meaning"), rows)


def _description(model: type[BaseModel], field: str) -> str:
    """Return the docstring below a field, or below the field of the base class that it narrows."""
    fields = [base.model_fields[field] for base in model.__mro__ if field in getattr(base, "model_fields", {})]
    return next((info.description for info in fields if info.description), "")


def _default(info: Any) -> str:
    return "required" if info.is_required() else _value(info.get_default(call_default_factory=True))


def _parameter_default(parameter: inspect.Parameter) -> str:
    return "required" if parameter.default is parameter.empty else _value(parameter.default)


def _value(value: Any) -> str:
    """Return a default as it stands in YAML; nothing for None and for an empty group."""
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, float):
        return code(f"{value:g}".replace("e-0", "e-"))
    return "" if value in (None, {}, ()) else code(value)


def _values(schema: Mapping[str, Any]) -> str:
    """Return in words which values a JSON schema accepts."""
    if "anyOf" in schema:
        return " or ".join(_values(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(map(code, schema.get("enum") or [schema["const"]]))
    kind = "a path" if schema.get("format") == "path" else _TYPES[schema["type"]]
    limits = [f"{words} {schema[limit]:g}" for limit, words in _LIMITS.items() if limit in schema]
    return f"{kind} {' and '.join(limits)}".strip()


def _explanation(name: str) -> str:
    """Return the comment at the top of a recipe, without its source."""
    lines = []
    for line in recipe_text(name).splitlines():
        if not line.startswith("#") or line.startswith("# Source:"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)
