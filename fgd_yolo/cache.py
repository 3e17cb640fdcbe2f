"""The folder for files that can be created again, and how a folder is created there atomically."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fgd_yolo.errors import FGDError
from fgd_yolo.files import partial_folder, remove_leftovers


def cache_root() -> Path:
    """Return the folder of all caches, `${FGD_YOLO_CACHE:-~/.cache/fgd_yolo}`, as an absolute path."""
    configured = os.environ.get("FGD_YOLO_CACHE")
    return Path(configured).expanduser().absolute() if configured else Path.home() / ".cache" / "fgd_yolo"


def make_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return a folder, creating it by `fill(folder)` if it does not exist.

    `fill` writes to a hidden folder beside the target, which is renamed at the end: a killed process leaves no
    incomplete folder under the final name. If two processes create it at the same time, the first one to finish wins.

    Raises:
        FGDError: the folder cannot be written, for example because of permissions or a full disk.
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with partial_folder(target) as partial:
            fill(partial)
            _rename(partial, target)
    except OSError as error:
        reason = error.strerror or error
        raise FGDError(
            f"cannot write {target}: {reason}; free space there or set FGD_YOLO_CACHE to another folder"
        ) from error
    return target


def _rename(partial: Path, target: Path) -> None:
    """Rename the complete folder, unless another process was faster."""
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
