"""Ultralytics train arguments, without importing torch: defaults, checks, and parsing of `name=value` words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.config import FGDConfig
from fgd_yolo.errors import FGDError, UsageError, close_match

RUN_OPTIONS = (
    *("teacher", "student", "data", "unlabeled", "every", "teacher_classes", "teacher_epochs"),
    *("recipe", "resume"),
)
"""Options of a run, which are not given as train arguments."""
_RESERVED = {
    "model": "use --student for the student",
    "data": "it is not a train argument but an option beside student and teacher",
    "resume": "use --resume RUN to resume a run",
    "cfg": "use --recipe FILE for a recipe",
    "exist_ok": "it would overwrite a run; without it, a new run is numbered",
    "save_dir": "use project= and name= for the run folder",
    "mode": "a distillation always trains",
    "save": "a run needs its checkpoints to be resumed, measured and exported",
}
# These change where and how fast a training runs, and what it prints, but not what it learns.
_NOT_LEARNING = (
    *("project", "name", "exist_ok", "plots", "verbose", "save_period"),
    *("device", "workers", "cache", "profile"),
)
_VALIDATION = (
    *("imgsz", "batch", "device", "workers", "split", "fraction", "single_cls"),
    *("conf", "iou", "max_det", "classes", "agnostic_nms"),
)
VERBATIM = ("project", "name")
"""Train arguments that stay text: a folder called 007 or 2024-01-01 is not a number or a date."""


@lru_cache(maxsize=1)
def ultralytics_defaults() -> dict[str, Any]:
    """Return all Ultralytics arguments with their defaults, read from its own file without importing it.

    Raises:
        FGDError: Ultralytics is not installed.
    """
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise FGDError("Ultralytics is not installed here: pip install 'fgd_yolo[train]'")
    return yaml.safe_load((Path(spec.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8"))


def check_train_args(arguments: Mapping[str, Any]) -> None:
    """Stop on train arguments that do not exist or are not supported.

    Raises:
        UsageError: an argument is unknown (the message names the closest one), set by the run itself, or not supported.
    """
    known = ultralytics_defaults()
    for key, value in arguments.items():
        if key in RUN_OPTIONS and key not in _RESERVED:
            raise UsageError(f"'{key}' is not a train argument: write --{key.replace('_', '-')} {value}")
        if key in FGDConfig.model_fields:
            raise UsageError(
                f"'{key}' is an option of the distillation, not a train argument: in Python, pass it as "
                f"recipe=FGDConfig({key}=...)"
            )
        if key not in known:
            raise UsageError(f"unknown train argument '{key}'{close_match(key, known)}")
        if key in _RESERVED and value != known[key]:
            raise UsageError(f"{key}={value} is not allowed: {_RESERVED[key]}")
    refuse_unsupported(arguments)


def refuse_unsupported(arguments: Mapping[str, Any]) -> None:
    """Stop on train arguments that are not supported together with FGD.

    Args:
        arguments: Ultralytics train arguments, as the user gave them.

    Raises:
        UsageError: `distill_model`, `quantize=8`, or a list of data sets.
    """
    if arguments.get("distill_model") is not None:
        raise UsageError(
            "distill_model= is Ultralytics' own distillation and cannot run together with FGD: leave it out"
        )
    if str(arguments.get("quantize")) in {"8", "int8"}:
        raise UsageError("quantize=8 (quantization-aware training) is not supported yet: leave it out")
    # For a list Ultralytics starts one trainer per data set, in a folder of this name.
    sweep = "save_dir" in arguments and Path(str(arguments.get("project") or "")).name.startswith("multitrain")
    if isinstance(arguments.get("data"), (list, tuple)) or sweep:
        raise UsageError("a list of data sets is not supported yet: distil them one by one")


def learning_arguments(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments that affect what is learnt, including Ultralytics' defaults."""
    return {key: train.get(key, default) for key, default in ultralytics_defaults().items() if key not in _NOT_LEARNING}


def validation_arguments(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a training that its validation uses; AutoBatch is replaced by the default batch."""
    defaults = ultralytics_defaults()
    arguments = {**defaults, **train}
    arguments["batch"] = int(arguments["batch"] if arguments["batch"] >= 1 else defaults["batch"])
    return {key: arguments[key] for key in _VALIDATION}


def parse_assignments(words: Iterable[str]) -> dict[str, Any]:
    """Parse `name=value` words.

    Args:
        words: for example `heads.ratio=1`, `features.rel_weight=1e-3`, `inherit=True`, `features.ratio=None`.

    Raises:
        UsageError: a word without `=`, or a name given more than once.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"'{word}' is not an option with its value: write name=value, such as heads.ratio=1")
        if name in values:
            raise UsageError(f"{name} given more than once")
        values[name] = parse_value(text)
    return values


def parse_value(text: str) -> Any:
    """Parse a value as YAML, or as Ultralytics writes it (`None`, `1e-3`); anything else stays text."""
    if text.lower() == "none":
        return None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value if isinstance(value, (bool, int, float, list, type(None))) else text


def count_steps(train: Mapping[str, Any], train_images: int) -> tuple[int, int] | tuple[None, None]:
    """Return the batches and the optimizer steps of a training; None if AutoBatch or `time` decides.

    Ultralytics accumulates about `nbs` images for each step. It makes some more steps in its warm-up, and fewer if
    it stops early.

    Args:
        train: train arguments.
        train_images: number of train images.
    """
    arguments = {**ultralytics_defaults(), **train}
    batch, nbs, epochs = (arguments[key] for key in ("batch", "nbs", "epochs"))
    if batch < 1 or arguments["time"]:
        return None, None
    batches = epochs * ceil(train_images / batch)
    return batches, max(batches // max(round(nbs / batch), 1), 1)
