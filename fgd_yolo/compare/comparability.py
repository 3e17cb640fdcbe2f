"""Check that runs differ in nothing but the method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fgd_yolo.compare.results import Run
from fgd_yolo.errors import FGDError
from fgd_yolo.train_arguments import learning_arguments, ultralytics_defaults

_OTHER_IMAGES = ("data_digest", "batches_digest")
EQUAL_WITHIN_DATA = (
    *("data_digest", "train_images", "val_images", "val_digest", "student_digest", "epochs", "batch", "imgsz"),
    *("optimizer", "lr0", "arguments", "device_type", "teacher_digest", "epoch_images"),
)
CHOSEN_BY_SEED = ("data_digest", "teacher_digest")
"""Columns of `EQUAL_WITHIN_DATA` that differ between seeds if the seed chooses the images that keep their labels."""
EQUAL_WITHIN_SEED = ("init_digest", "batches_digest", "labelled_digest")
CHANGED_BY_OPTION = {
    "inherit": (
        ("init_digest",),
        "Methods with `inherit` start from other weights than the others, so those digests are not compared.",
    ),
    "teacher_imgsz": (
        ("batches_digest",),
        "Methods with `teacher_imgsz` augment larger images, which drops other boxes as too small, so the digests of "
        "their batches are not compared with those of the others.",
    ),
    "labels": (
        _OTHER_IMAGES,
        "Methods with `labels=all` have the labels of all train images and stand beside the others: they show what the "
        "missing labels cost. Their initial weights, images per epoch, epochs and val images must be the same.",
    ),
    "score": (
        _OTHER_IMAGES,
        "`pseudo-labels` trains on all train images, those without labels with the teacher's. Its batches differ from "
        "those of methods that see the labelled part alone; initial weights, images per epoch, epochs and val images "
        "must be the same.",
    ),
    "frames": (
        _OTHER_IMAGES,
        "Methods with `frames=true` see the images without labels too. Their batches differ from those of methods that "
        "do not, or have another `unlabeled_ratio`; initial weights, images per epoch, epochs and val images must be "
        "the same.",
    ),
    "unlabeled_ratio": (("batches_digest",), ""),
}
"""Options of a method that change columns of the same data and seed, with these and what the report says of them."""
EQUAL_IN_ALL = ("measured", "val_fraction", "label_fraction")
COLUMN_DESCRIPTIONS = {
    "data_digest": "the images or labels",
    "student_digest": "the student",
    "teacher_digest": "the teacher",
    "init_digest": "the initial weights",
    "val_digest": "the images or labels that are measured on",
    "labelled_digest": "the images that keep their labels",
    "batches_digest": "the order or augmentation of the images",
    "device_type": "the kind of device",
}
# Arguments with a column of their own, of files and folders, or of Ultralytics' own distillation, which is a method.
_NOT_COMPARED = (
    *("model", "data", "save_dir", "mode", "task", "resume", "cfg", "seed", "epochs", "batch", "imgsz"),
    *("optimizer", "lr0", "patience", "val", "distill_model", "dis", "split", "tracker"),
)


def common_arguments(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the train arguments that affect training, differ from Ultralytics' defaults and are not a column."""
    defaults = ultralytics_defaults()
    arguments = learning_arguments(train)
    return {key: value for key, value in arguments.items() if key not in _NOT_COMPARED and value != defaults[key]}


def known_optimizer(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return optimizer and learning rate as columns of a run; both are unknown with `optimizer=auto`.

    Args:
        arguments: train arguments, including Ultralytics' defaults.
    """
    automatic = arguments["optimizer"] == "auto"
    return {name: None if automatic else arguments[name] for name in ("optimizer", "lr0")}


def find_difference(run: Run, others: Iterable[Run]) -> str | None:
    """Return what makes a run incomparable with others, in one line, or None if all are comparable.

    A value that is unknown for one of two runs, such as a planned one, is not a difference.

    Args:
        run: finished or planned run.
        others: finished runs; those on other data may have another budget, but share method options and hold-out.
    """
    for other in others:
        columns = EQUAL_IN_ALL
        if other.data == run.data:
            columns += _equal_within_data(run, other)
        differences = [_difference(name, getattr(run, name), getattr(other, name)) for name in columns]
        if other.method == run.method:
            differences.append(_difference("options", run.options, other.options))
        known = [difference for difference in differences if difference]
        if known:
            return f"{run.name} and {other.name} differ in {'; '.join(known)}"
    return None


def _equal_within_data(run: Run, other: Run) -> tuple[str, ...]:
    """Return the columns that must be equal for two runs of the same data."""
    changed = {
        column
        for option, (columns, _) in CHANGED_BY_OPTION.items()
        if ((run.options or {}).get(option) or 0) != ((other.options or {}).get(option) or 0)
        for column in columns
    }
    if run.seed != other.seed:
        changed.update(EQUAL_WITHIN_SEED, CHOSEN_BY_SEED if run.label_fraction < 1 else ())
    return tuple(column for column in EQUAL_WITHIN_DATA + EQUAL_WITHIN_SEED if column not in changed)


def check_comparable(runs: Sequence[Run], where: str) -> None:
    """Check that all runs can be compared.

    Args:
        runs: finished runs.
        where: file or folder of the runs, for the message.

    Raises:
        FGDError: two runs differ in more than the method, or a run is listed twice.
    """
    for index, run in enumerate(runs):
        if run.key in [other.key for other in runs[:index]]:
            raise FGDError(f"{where}: {run.name} is listed twice: remove one of its lines")
        difference = find_difference(run, runs[:index])
        if difference:
            raise FGDError(f"{where}: {difference}; only runs with equal budgets are compared")


def _difference(name: str, one: Any, other: Any) -> str | None:
    if one is None or other is None:
        return None
    if isinstance(one, dict):
        keys = sorted(one.keys() | other.keys()) if name == "arguments" else sorted(one.keys() & other.keys())
        parts = [f"{key} ({one.get(key)} and {other.get(key)})" for key in keys if one.get(key) != other.get(key)]
        return ", ".join(parts) or None
    if one == other or (isinstance(one, float) and abs(one - other) <= 1e-5 * abs(one)):
        return None
    if name == "optimizer" and one.lower() == other.lower():  # Ultralytics accepts sgd for SGD
        return None
    return COLUMN_DESCRIPTIONS.get(name) or f"{name} ({one} and {other})"
