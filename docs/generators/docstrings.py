"""Griffe extension: how our docstrings and signatures appear in the Python reference."""

from __future__ import annotations

import re
from typing import Any

from griffe import AliasResolutionError, Class, Extension, Function, Object

# Griffe takes a section without a blank line above it for part of the text.
_SECTION = re.compile(r"(?<=[^\n])\n(?=(?:Args|Convention|Examples|Raises|Returns|Source):\n)")


class Docstrings(Extension):
    """Separates sections, calls the fields of a dataclass attributes, and shows the values of named defaults."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Adapt an object; Griffe calls this for each when all modules are loaded."""
        if obj.docstring:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
        if isinstance(obj, Class) and any("dataclass" in str(entry.value) for entry in obj.decorators):
            obj.docstring.value = re.sub(r"^Args:$", "Attributes:", obj.docstring.value, flags=re.MULTILINE)
        if isinstance(obj, Function):
            for parameter in obj.parameters:
                if str(parameter.default).isupper():  # a constant, such as DEFAULT_CONFIDENCE
                    parameter.default = _value(obj, str(parameter.default))


def _value(function: Function, name: str) -> Any:
    """Return the value of a constant as an expression; the name itself if it comes from another package."""
    try:
        return function.module[name].value
    except (AliasResolutionError, KeyError):
        return name
