"""Where things that can be made again are kept, and how a folder appears there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fgd_yolo.errors import FGDError
from fgd_yolo.files import partial_folder, remove_leftovers


def cache_root() -> Path:
    """The folder of all caches: `${FGD_YOLO_CACHE:-~/.cache/fgd_yolo}`."""
    named = os.environ.get("FGD_YOLO_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "fgd_yolo"


def make_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return `target`, filled by `fill(folder)` if it is not there yet.

    The work happens in a hidden folder beside it that is renamed at the end, so that a killed process never
    leaves something half-made under the final name. Two processes at once do no harm: the first one wins.

    Raises:
        FGDError: the folder cannot be written (rights, full disk).
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with partial_folder(target) as partial:
            fill(partial)
            _claim(partial, target)
    except OSError as error:
        reason = error.strerror or error
        raise FGDError(
            f"cannot write {target}: {reason}; make room there or point FGD_YOLO_CACHE at another folder"
        ) from error
    return target


def _claim(partial: Path, target: Path) -> None:
    """Give the finished folder its name, unless another process was faster."""
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
