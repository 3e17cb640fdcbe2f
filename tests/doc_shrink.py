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
    "count": 2,
}
"""Options and arguments whose value is replaced wherever a page gives one."""
_TRAINING = {"epochs": 1, "imgsz": 64, "batch": 8, "device": "cpu", "workers": 0}
# The demo scenes and the 100 epochs of Ultralytics' default would take hours; narrow models get nothing from int8.
ADDED_OPTIONS = {
    "distill": {"data": "data.yaml", "pictures_every": 0, **_TRAINING},
    "compare": {"data": "data.yaml", "seeds": 1, **_TRAINING},
    "benchmark": {"imgsz": 64, "threads": 1, "rounds": 1},
    "visualize": {"count": 2},
    "stream": {"seconds": 1},
    "export int8": {"allow_regression": True},
}
"""Options that are added to a command if a page does not give them."""
ADDED_ARGUMENTS = {
    "distill": {"data": "data.yaml", **_TRAINING},
    "train": _TRAINING,
    "export_onnx int8": {"allow_regression": True},
}
"""Arguments that are added to a call if a page does not give them."""
_OF_FRAMES = {"pseudo_high": 0.1, "pseudo_low": 0.05}
"""Options of a training on frames: the stand-ins' teacher is sure of nothing."""
_ALONE = {"--resume", "--report", "--runs", "--help", "-h", "--version"}  # nothing is added beside these


def shrink_command(command: str, words: Sequence[str]) -> list[str]:
    """Return the arguments of a command of this project with small values."""
    kept: list[str] = []
    given: list[str] = []  # options of the page by name
    values = 0  # of a replaced option, which are left out: the first word, and numbers after it
    for word in words:
        key, equals, _ = word.partition("=")
        if word.startswith("--") or (equals and key.replace("_", "").isalnum()):
            given.append(key.removeprefix("--").replace("-", "_"))
            values = int(given[-1] in SMALL and not equals)
            if given[-1] not in SMALL:
                kept.append(word)
        elif values == 1 or (values and word.isdecimal()):
            values += 1
        else:
            values = 0
            kept.append(word)
    small = {name: SMALL[name] for name in given if name in SMALL}
    if not _ALONE & set(words):
        form = f"{command} int8" if "int8" in words else command
        small |= _OF_FRAMES if "unlabeled" in given else {}
        left_out = {*given, *(["data"] if "unlabeled" in given else [])}  # frames alone have no data
        small |= {name: value for name, value in ADDED_OPTIONS.get(form, {}).items() if name not in left_out}
    for name, value in small.items():
        kept += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return kept


class ShrinkCalls(ast.NodeTransformer):
    """Replace keyword arguments of calls by small values, and end waits after a second."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for keyword in node.keywords:
            if keyword.arg in SMALL and isinstance(keyword.value, ast.Constant):
                keyword.value = ast.Constant(SMALL[keyword.arg])
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        form = f"{name} int8" if given.get("precision") == "int8" else name
        if "resume" not in given:
            added = {key: value for key, value in ADDED_ARGUMENTS.get(form, {}).items() if key not in given}
            if len(node.args) > 2:  # distill(teacher, student, data)
                added.pop("data", None)
            node.keywords += [ast.keyword(key, ast.Constant(value)) for key, value in added.items()]
        if name == "wait" and isinstance(node.func, ast.Attribute):
            node.args = [ast.Constant(SMALL["seconds"])]
        return node
