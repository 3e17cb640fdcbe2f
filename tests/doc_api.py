"""Look up the names of the API that a page uses, in Python code and in inline code, without executing it."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import fgd_yolo
from fgd_yolo.train_arguments import ultralytics_defaults

_API = re.compile(r"\b(fgd_yolo(?:\.\w+)+|(?:FGD|Onnx)?[A-Z]\w+\.\w+)")


def api_problems(text: str) -> Iterator[str]:
    """Yield the names of the API in a piece of inline code that do not exist."""
    for dotted in _API.findall(text):
        first, *rest = dotted.split(".")
        if first == "fgd_yolo":
            if dotted.endswith((".egg", ".onnx", ".yaml")):
                continue
            if _lookup(dotted) is None:
                yield f"there is no {dotted}"
        elif first in fgd_yolo.__all__ and not _has_attribute(getattr(fgd_yolo, first), rest[0]):
            yield f"{first} has no attribute '{rest[0]}'"


def _lookup(dotted: str) -> Any:
    """Return the module or object of a dotted name, or None."""
    found: Any = None
    parts = dotted.split(".")
    for index, part in enumerate(parts):
        if found is None or isinstance(found, ModuleType):
            name = ".".join(parts[: index + 1])
            try:
                found = import_module(name)
                continue
            except ModuleNotFoundError:
                if found is None:
                    return None
        if not _has_attribute(found, part):
            return None
        found = getattr(found, part, None) or object()
    return found


def python_problems(text: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and problems of Python code: syntax, imports, attributes and arguments of fgd_yolo."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield error.lineno or 1, f"SyntaxError: {error.msg}"
        return
    reader = _ApiReader()
    reader.visit(tree)
    yield from reader.problems


class _Instance(typing.NamedTuple):
    """A value of which only the class is known."""

    kind: type


class _ApiReader(ast.NodeVisitor):
    """Follow names that come from fgd_yolo, in the order of the code, and look up each attribute and argument.

    What a call returns is known from the annotation; what cannot be known is not checked.
    """

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.problems: list[tuple[int, str]] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == "fgd_yolo":
                if _lookup(alias.name) is None:
                    self.problems.append((node.lineno, f"there is no module {alias.name}"))
                else:
                    self.known[alias.asname or "fgd_yolo"] = _lookup(alias.name) if alias.asname else fgd_yolo

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if (node.module or "").split(".")[0] != "fgd_yolo":
            return
        for alias in node.names:
            found = _lookup(f"{node.module}.{alias.name}")
            if found is None:
                self.problems.append((node.lineno, f"{node.module} has no '{alias.name}'"))
            self.known[alias.asname or alias.name] = found

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.known[target.id] = self._value(node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._value(node.value)
        kind = owner.kind if isinstance(owner, _Instance) else owner
        if kind is not None and not _has_attribute(kind, node.attr):
            name = getattr(kind, "__name__", kind)
            self.problems.append((node.lineno, f"{name} has no attribute '{node.attr}'"))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = self._value(node.func)
        function = function.kind.__call__ if isinstance(function, _Instance) else function
        if not callable(function):
            return
        try:
            parameters = inspect.signature(function).parameters
        except (ValueError, TypeError):
            return
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for keyword in node.keywords:
            given = keyword.arg
            if given is None or given in parameters:
                continue
            if not takes_all or (function is fgd_yolo.distill and given not in ultralytics_defaults()):
                name = getattr(function, "__qualname__", function)
                self.problems.append((keyword.value.lineno, f"{name} has no argument '{given}'"))

    def _value(self, node: ast.expr) -> Any:
        """Return what is known of an expression: an object, an `_Instance`, or None."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._value(node.value)
            if isinstance(owner, _Instance):
                return _attribute_of(owner.kind, node.attr)
            return getattr(owner, node.attr, None) if owner is not None else None
        return self._result(node) if isinstance(node, ast.Call) else None

    def _result(self, node: ast.Call) -> Any:
        function = self._value(node.func)
        if isinstance(function, type):
            return _Instance(function)
        if isinstance(function, _Instance):
            function = getattr(function.kind, "__call__", None)  # noqa: B004 (of the class)
        single = node.args and isinstance(node.args[0], ast.Constant)
        return _returned(function, single) if callable(function) else None


def _attribute_of(kind: type, name: str) -> Any:
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, property):
        return _returned(found.fget)
    if inspect.isfunction(found):
        return found
    return _instance(_hints(kind).get(name))


def _returned(function: Any, single: bool = True) -> Any:
    return _instance(_hints(function).get("return"), single)


def _hints(value: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(value)
    except (NameError, TypeError, AttributeError):
        return {}


def _instance(hint: Any, single: bool = True) -> _Instance | None:
    """Return an instance of an annotation's class if it is one of fgd_yolo; of `X | list[X]`, X for a single input."""
    options = [hint, *typing.get_args(hint)] if single else [hint]
    kinds = [option for option in options if isinstance(option, type)]
    return _Instance(kinds[0]) if kinds and kinds[0].__module__.startswith("fgd_yolo") else None


def _has_attribute(owner: Any, name: str) -> bool:
    fields = [getattr(owner, "model_fields", {}), getattr(owner, "__annotations__", {})]
    if hasattr(owner, name) or any(name in field for field in fields):
        return True
    if isinstance(owner, type) and "self." in (source := _source(owner)):
        return bool(re.search(rf"\bself\.{name}\b(: [^=\n]+)? = ", source))
    return isinstance(owner, ModuleType) and _lookup_module(f"{owner.__name__}.{name}")


def _lookup_module(name: str) -> bool:
    try:
        return import_module(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def _source(owner: type) -> str:
    try:
        return "".join(inspect.getsource(kind) for kind in owner.__mro__ if kind.__module__.startswith("fgd_yolo"))
    except (OSError, TypeError):
        return ""
