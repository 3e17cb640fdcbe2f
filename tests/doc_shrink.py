"""What tests of the documentation replace in commands and Python code, so that a page can show realistic values."""

from __future__ import annotations

import ast
from collections.abc import Sequence

PAGE_PORT = "8080"
"""The port of the web page in the documentation, replaced by a free one."""
SMALL = {
    "epochs": 1,
    "teacher_epochs": 1,
    "imgsz": 64,
    "batch": 8,
    "workers": 0,
    "device": "cpu",
    "jobs": 1,
    "seeds": 1,
    "seconds": 1,
    "rounds": 1,
    "threads": 1,
    "count": 1,
}
"""Options and arguments whose value is replaced wherever a page gives one."""
# The demo scenes and the 100 epochs of Ultralytics' default would take hours; narrow models get nothing from int8.
ADDED = {
    "distill": {"data": "data.yaml", "epochs": 1, "imgsz": 64, "batch": 8, "device": "cpu", "workers": 0},
    "train": {"epochs": 1, "imgsz": 64, "batch": 8, "device": "cpu", "workers": 0, "plots": False},
    "compare": {"data": "data.yaml", "epochs": 1, "imgsz": 64, "batch": 8, "seeds": 1, "device": "cpu", "workers": 0},
    "benchmark": {"imgsz": 64, "threads": 1, "rounds": 1},
    "stream": {"seconds": 1},
    "export int8": {"allow_regression": True},
}
"""Options and arguments by command or function, which are added if a page does not give them."""
_ALONE = {"--resume", "--report", "--runs", "--help", "-h", "--version"}  # nothing is added beside these
_OPTIONS = {"epochs", "imgsz", "batch", "device", "data", "seeds", "threads", "rounds", "seconds", "allow_regression"}


def shrink_command(command: str, words: Sequence[str]) -> list[str]:
    """Return the arguments of a command of this project with small values."""
    kept: list[str] = []
    given: dict[str, bool] = {}  # options of the page by name; true for those with a value to replace
    skipping = False
    for word in words:
        name, equals, _ = word.partition("=")
        name = name.lstrip("-").replace("-", "_") if word.startswith("--") or equals else ""
        if name:
            given[name] = name in SMALL
            skipping = given[name] and not equals
        elif skipping and word.lstrip("-").replace(".", "").isalnum():  # the values of a replaced option
            continue
        if not given.get(name):
            kept.append(word)
    small = {name: SMALL[name] for name, replaced in given.items() if replaced}
    if not _ALONE & set(words):
        form = "export int8" if command == "export" and "int8" in words else command
        small |= {name: value for name, value in ADDED.get(form, {}).items() if name not in given}
    options: list[str] = []
    for name, value in small.items():
        flag = f"--{name.replace('_', '-')}"
        is_option = name in _OPTIONS or flag in words
        options += [flag, *([] if value is True else [str(value)])] if is_option else [f"{name}={value}"]
    return [*kept, *options]


class ShrinkCalls(ast.NodeTransformer):
    """Replace keyword arguments of calls by small values, and end waits after a second."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for keyword in node.keywords:
            if keyword.arg in SMALL and isinstance(keyword.value, ast.Constant):
                keyword.value = ast.Constant(SMALL[keyword.arg])
        values = {keyword.arg: keyword.value for keyword in node.keywords}
        if name == "export_onnx" and getattr(values.get("precision"), "value", None) == "int8":
            name = "export int8"
        if name in ADDED and name not in {"compare", "benchmark", "stream"} and "resume" not in values:
            added = {key: value for key, value in ADDED[name].items() if key not in values}
            if name == "distill" and len(node.args) > 2:
                del added["data"]
            node.keywords += [ast.keyword(key, ast.Constant(value)) for key, value in added.items()]
        if name == "wait" and isinstance(node.func, ast.Attribute):
            node.args = [ast.Constant(SMALL["seconds"])]
        return node
