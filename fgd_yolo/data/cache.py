"""Where things that can be made again are kept, and how a folder appears there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fgd_yolo.errors import FGDError

_STALE_AFTER_S = 3600


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
        _sweep(target)
        partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(target), dir=target.parent))
        try:
            partial.chmod(0o755)  # mkdtemp makes it private, but a cache may be shared
            fill(partial)
            _claim(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
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


def _sweep(target: Path) -> None:
    """Remove what killed renders left; young ones may belong to a process that still works on them."""
    for leftover in target.parent.glob(f"{_partial_prefix(target)}*"):
        if time.time() - leftover.stat().st_mtime > _STALE_AFTER_S:
            shutil.rmtree(leftover, ignore_errors=True)


def _partial_prefix(target: Path) -> str:
    return f".{target.name}-partial-"
