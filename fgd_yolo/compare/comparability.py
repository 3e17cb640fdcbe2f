"""Runs are compared only where they differ in the method alone; what else differs is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fgd_yolo.compare.results_csv import Run
from fgd_yolo.errors import FGDError
from fgd_yolo.workflow.train_arguments import learning_arguments, ultralytics_defaults

OF_DATA = (
    *("data_key", "train_images", "val_images", "hold_out", "student_key", "epochs", "batch", "imgsz"),
    *("optimizer", "lr0", "arguments", "device_type", "teacher_key"),
)
OF_SEED = ("init", "order")
OF_ALL = ("hold_out",)
WORDS = {
    "data_key": "the images or labels",
    "student_key": "the student",
    "teacher_key": "the teacher",
    "init": "the initial weights",
    "order": "the order or augmentation of the images",
    "device_type": "the kind of device",
}
# Said by columns of their own, about files and places, or about the host's own distillation, which is the method.
_ELSEWHERE = (
    *("model", "data", "save_dir", "mode", "task", "resume", "cfg", "seed", "epochs", "batch", "imgsz"),
    *("optimizer", "lr0", "patience", "val", "distill_model", "dis", "split", "tracker"),
)


def common_arguments(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the train arguments that decide what is learnt, are not the host's defaults and have no own column."""
    defaults = ultralytics_defaults()
    learnt = learning_arguments(train)
    return {key: value for key, value in learnt.items() if key not in _ELSEWHERE and value != defaults[key]}


def stated_rate(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return optimizer and learning rate as columns of a run; both are unknown where the host is to choose them.

    Args:
        arguments: train arguments, the host's defaults included.
    """
    automatic = arguments["optimizer"] == "auto"
    return {name: None if automatic else arguments[name] for name in ("optimizer", "lr0")}


def refusal(run: Run, others: Iterable[Run]) -> str | None:
    """Return why a run cannot be compared with others, in one line, or None if it can.

    What is unknown of either, such as what only a finished run knows, is no difference.

    Args:
        run: finished or planned.
        others: finished runs; those of other data have a budget of their own, but share method and hold-out.
    """
    for other in others:
        same = OF_ALL
        if other.data == run.data:
            same = OF_DATA + (OF_SEED if other.seed == run.seed else ())
        differing = [_difference(name, getattr(run, name), getattr(other, name)) for name in same]
        if other.method == run.method:
            differing.append(_difference("options", run.options, other.options))
        found = [words for words in differing if words]
        if found:
            return f"{run.name} and {other.name} differ in {'; '.join(found)}"
    return None


def check_all(runs: Sequence[Run], where: str) -> None:
    """Stop unless all runs can be compared.

    Args:
        runs: finished runs.
        where: they are from.

    Raises:
        FGDError: names two runs and what differs, or a run that is there twice.
    """
    for place, run in enumerate(runs):
        if run.key in [other.key for other in runs[:place]]:
            raise FGDError(f"{where}: {run.name} is there twice: remove one of its lines")
        reason = refusal(run, runs[:place])
        if reason:
            raise FGDError(f"{where}: {reason}; only runs with equal budgets are compared")


def _difference(name: str, one: Any, other: Any) -> str | None:
    if one is None or other is None:
        return None
    if isinstance(one, dict):
        keys = sorted(one.keys() | other.keys()) if name == "arguments" else sorted(one.keys() & other.keys())
        parts = [f"{key} ({one.get(key)} and {other.get(key)})" for key in keys if one.get(key) != other.get(key)]
        return ", ".join(parts) or None
    if one == other or (isinstance(one, float) and abs(one - other) <= 1e-5 * abs(one)):
        return None
    if name == "optimizer" and one.lower() == other.lower():  # the host takes sgd for SGD
        return None
    return WORDS.get(name) or f"{name} ({one} and {other})"
