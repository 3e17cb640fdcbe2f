"""Ultralytics train arguments, without torch: which exist, which a run refuses, how words become values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from fgd_yolo.config import FGDConfig, Recipe, load_recipe
from fgd_yolo.console import print_status
from fgd_yolo.demo.settings import STUDENT, TEACHER
from fgd_yolo.errors import FGDError, UsageError, close_match
from fgd_yolo.training.preflight import refuse_unsupported

OWN_OPTIONS = ("teacher", "student", "data", "teacher_epochs", "config", "resume")
_TAKEN = {
    "model": "the student is named by --student",
    "data": "it belongs beside student and teacher, not among the train arguments",
    "resume": "a run is resumed with --resume RUN",
    "cfg": "a recipe is given with --config FILE",
    "exist_ok": "it would overwrite a run: without it a new run gets a number of its own",
    "save_dir": "the run folder is set by project= and name=",
    "mode": "a distillation always trains",
    "save": "a run needs its checkpoints: to be resumed, measured and exported",
}
_COSMETIC = (
    *("project", "name", "exist_ok", "plots", "verbose", "save_period"),
    *("device", "workers", "cache", "profile"),
)
_VALIDATED_WITH = (
    *("imgsz", "batch", "device", "workers", "split", "fraction", "single_cls"),
    *("conf", "iou", "max_det", "classes", "agnostic_nms"),
)
_VERBATIM = ("project", "name")  # a folder called 007 or 2024-01-01 is not a number or a date


@lru_cache(maxsize=1)
def ultralytics_defaults() -> dict[str, Any]:
    """Return every Ultralytics argument with its default, read from the host's own file without importing it.

    Raises:
        FGDError: Ultralytics is not installed.
    """
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise FGDError("Ultralytics is not installed here: pip install 'fgd_yolo[train]'")
    return yaml.safe_load((Path(spec.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8"))


def check_train_args(arguments: Mapping[str, Any]) -> None:
    """Stop on train arguments that do not exist or that a run cannot honour.

    Raises:
        UsageError: an unknown key (the message names the closest one), or one that a run sets itself or
            cannot honour.
    """
    known = ultralytics_defaults()
    for key, value in arguments.items():
        if key in OWN_OPTIONS and key not in _TAKEN:
            raise UsageError(f"'{key}' is not a train argument: write --{key.replace('_', '-')} {value}")
        if key not in known:
            raise UsageError(f"unknown train argument '{key}'{close_match(key, known)}")
        if key in _TAKEN and value != known[key]:
            raise UsageError(f"{key}={value} is not taken: {_TAKEN[key]}")
    refuse_unsupported(arguments)


def learning_arguments(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return every argument that decides what is learnt, the host's defaults included."""
    return {key: train.get(key, default) for key, default in ultralytics_defaults().items() if key not in _COSMETIC}


def validation_arguments(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a validation shares with a training; a batch that is found by size has no meaning."""
    defaults = ultralytics_defaults()
    arguments = {**defaults, **train}
    arguments["batch"] = int(arguments["batch"] if arguments["batch"] >= 1 else defaults["batch"])
    return {key: arguments[key] for key in _VALIDATED_WITH}


def parse_assignments(words: Iterable[str], known: Iterable[str] = ()) -> dict[str, Any]:
    """Read `key=value` words.

    Args:
        words: such as `imgsz=320`, `lr0=1e-3`, `freeze=[0,1]`, `amp=False`, `time=None`.
        known: keys that were said already, by other options.

    Raises:
        UsageError: a word without `=`, or a key given more than once.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UsageError(f"'{word}' is neither an option nor a train argument: those are written key=value")
        if key in values or key in known:
            raise UsageError(f"{key} given more than once")
        values[key] = text if key in _VERBATIM else parse_value(text)
    return values


def parse_value(text: str) -> Any:
    """Read one value as YAML does, or as the host spells it (`None`, `1e-3`); anything else stays text."""
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


def demo_arguments(given: Mapping[str, Any], device_type: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add the demo's settings for a device to the arguments that were given, and print them.

    Args:
        given: train arguments of the user; they take precedence, for student and teacher.
        device_type: "cpu" or "cuda".

    Returns:
        Train arguments of the student, and of the teacher's own stage.
    """
    arguments = []
    for role, settings in (("student", STUDENT), ("teacher", TEACHER)):
        defaults = settings.get(device_type, settings["cpu"])
        arguments.append({**defaults, **given})
        print_status(f"demo settings, {role}: {' '.join(f'{key}={arguments[-1][key]}' for key in defaults)}")
    return arguments[0], arguments[1]


def as_recipe(config: FGDConfig | Recipe | str | Path | None) -> Recipe:
    """Return a recipe for whatever a caller gives: a name, a file, a recipe, an FGDConfig or nothing."""
    if isinstance(config, Recipe):
        return config
    if isinstance(config, FGDConfig):
        return Recipe(fgd=config)
    return load_recipe("default" if config is None else config)
