"""What a run began with: keys of its models and its data, compared whenever it relies on them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo.console import display_path, print_status
from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path, sha256_of_file
from fgd_yolo.text import shortened

KEYS = "keys.json"
_LONGEST = 90  # characters of each of two in one message
STUDENT, TEACHER, CHECKPOINT, DATA = "student", "teacher", "teacher's checkpoint", "data"


class Key(NamedTuple):
    """One thing that a run relies on.

    Args:
        key: the same for the same content, wherever it lies.
        shown: what it is, for messages.
    """

    key: str
    shown: str


def file_key(path: Path) -> Key:
    """Return the key of a file's content.

    Raises:
        FGDError: it cannot be read.
    """
    try:
        return Key(sha256_of_file(path), str(path))
    except OSError as error:
        raise FGDError(f"{path} cannot be read ({error.strerror}): put it back, or start a new run") from error


def data_key(dataset: Any) -> Key:
    """Return the key of a `Dataset`, with its counts for messages."""
    counts = f"{dataset.scan.train_images} train and {dataset.scan.val_images} val images"
    return Key(dataset.scan.key, f"{dataset.source.name}, {counts}, {len(dataset.names)} classes")


def read_keys(run_dir: Path) -> dict[str, Key] | None:
    """Return what a run began with as far as it is recorded, or None where the file is missing or damaged."""
    try:
        plain = json.loads((run_dir / KEYS).read_text(encoding="utf-8"))
        keys = {name: Key(**values) for name, values in plain.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return keys if all(isinstance(word, str) for key in keys.values() for word in key) else None


def record_keys(run_dir: Path, keys: dict[str, Key]) -> None:
    """Write what a run begins with."""
    with atomic_path(run_dir / KEYS) as path:
        path.write_text(json.dumps({name: key._asdict() for name, key in keys.items()}, indent=2) + "\n")


def compare_keys(run_dir: Path, found: dict[str, Key]) -> None:
    """Stop where models or data are not those that a run began with; what is not recorded yet is recorded.

    Args:
        run_dir: the run folder.
        found: keys of what is there now.

    Raises:
        FGDError: names what differs, and what to do.
    """
    recorded = read_keys(run_dir)
    if recorded is None:
        print_status(
            f"!! {display_path(run_dir / KEYS)} is missing or damaged: whether models and data are the same is unknown"
        )
        recorded = {}
    changed = differing(recorded, found)
    if changed:
        raise FGDError(f"{display_path(run_dir)} began with {changed}: put back what it began with, or start a new run")
    if found.keys() - recorded.keys():
        record_keys(run_dir, {**recorded, **found})


def differing(recorded: dict[str, Key], found: dict[str, Key]) -> str:
    """Return in words what differs, or an empty text; what is not recorded does not."""
    changed = [name for name, key in found.items() if name in recorded and recorded[name].key != key.key]
    return " and ".join(_difference(name, recorded[name], found[name]) for name in changed)


def _difference(name: str, then: Key, now: Key) -> str:
    what = "other data" if name == DATA else f"another {name}"
    before, after = shortened(then.shown, _LONGEST), shortened(now.shown, _LONGEST)
    if then.shown == now.shown:
        return f"{what} (the content of {after} changed)"
    return f"{what} (then {before}; now {after})"
