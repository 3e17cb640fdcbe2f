"""Checkpoints on disk: a plain student and, beside it, what only training needs; never half of either.

Convention:
    `last.pt` is the host's checkpoint, `fgd_last.pt` holds the distillation's tensors and names the epoch that it
    belongs to. Both are written in a folder beside and renamed. The side file of the epoch before is kept as
    `fgd_previous.pt` until `last.pt` has been replaced, so that at every moment one of the two fits `last.pt`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fgd_yolo.errors import FGDError
from fgd_yolo.host import load_checkpoint_file

LAST = "last.pt"
SIDE = "fgd_last.pt"
PREVIOUS_SIDE = "fgd_previous.pt"


@contextmanager
def staging(weights_dir: Path) -> Iterator[Path]:
    """Give an empty folder on the same disk as the checkpoints; whatever is left in it at the end is removed.

    Raises:
        FGDError: the disk is full or may not be written; the files already in `weights_dir` are untouched.
    """
    folder = weights_dir / ".staged"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise FGDError(
            f"cannot write checkpoints to {weights_dir} ({error.strerror or error}); the previous ones are intact: "
            "make room, then continue with --resume"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_side_file(folder: Path, state: dict[str, Any]) -> None:
    """Write the distillation's state (plain tensors and numbers, with its `epoch`) into a staging folder."""
    torch.save(state, folder / SIDE)


def commit(folder: Path, weights_dir: Path) -> None:
    """Move staged checkpoints into place, in an order that leaves a fitting pair at every moment.

    The side file goes first and `last.pt` after it; everything else (best.pt, epochN.pt) follows.
    """
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        _flush(folder / name)
    side = weights_dir / SIDE
    if SIDE in names and side.exists():
        side.replace(weights_dir / PREVIOUS_SIDE)
    for name in sorted(names, key=lambda name: (name != SIDE, name != LAST)):
        (folder / name).replace(weights_dir / name)


def copy_checkpoints(weights_dir: Path, folder: Path) -> None:
    """Copy the student's final checkpoints into a staging folder."""
    for name in (LAST, "best.pt"):
        if (weights_dir / name).exists():
            shutil.copy2(weights_dir / name, folder / name)


@contextmanager
def pointed_at(trainer, folder: Path) -> Iterator[None]:
    """Let a host trainer write its checkpoints to another folder for a block."""
    kept = trainer.wdir, trainer.last, trainer.best
    trainer.wdir, trainer.last, trainer.best = folder, folder / LAST, folder / "best.pt"
    try:
        yield
    finally:
        trainer.wdir, trainer.last, trainer.best = kept


def load_side_file(weights_dir: Path, epoch: int) -> dict[str, Any] | None:
    """Return the distillation's state that belongs to an epoch, or None; only plain tensors are ever read."""
    for name in (SIDE, PREVIOUS_SIDE):
        path = weights_dir / name
        if path.is_file():
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["epoch"] == epoch:
                return state
    return None


def resumable(weights_dir: Path) -> Path | None:
    """Return the checkpoint that a training can continue from, or None if it has not finished its first epoch.

    Raises:
        FGDError: `last.pt` is damaged.
    """
    last = weights_dir / LAST
    if not last.is_file():
        return None
    checkpoint = load_checkpoint_file(last)
    return last if checkpoint.get("epoch", -1) >= 0 and checkpoint.get("optimizer") is not None else None


def drop_later_rows(results: Path, epochs: int) -> None:
    """Drop the rows of epochs that a resumed training runs again.

    The host appends an epoch's row before it writes the epoch's checkpoint, so a kill in between leaves the row alone.

    Args:
        results: the host's `results.csv`, with the epoch (from 1) in its first column; may be missing.
        epochs: how many epochs the checkpoint has behind it.
    """
    if not results.is_file():
        return
    header, *rows = results.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if int(row.split(",")[0]) <= epochs]
    if len(kept) < len(rows):
        partial = results.with_suffix(".partial")
        partial.write_text("".join([header, *kept]), encoding="utf-8")
        partial.replace(results)


def _flush(path: Path) -> None:
    """Bring a file to the disk before its name changes, so that a power cut cannot leave an empty one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
