"""Checkpoints on disk: a plain student and, beside it, what only training needs; never half of either.

Convention:
    `last.pt` is the host's checkpoint, `fgd_last.pt` holds the distillation's tensors and names the epoch that it
    belongs to. Both are written in a folder beside and renamed. The side file of the epoch before is kept as
    `fgd_previous.pt` until `last.pt` has been replaced, so that at every moment one of the two fits `last.pt`.
"""

from __future__ import annotations

import io
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
    buffer = io.BytesIO()  # torch turns a full disk into an error of its own, write_bytes into the system's
    torch.save(state, buffer)
    (folder / SIDE).write_bytes(buffer.getvalue())


def commit(folder: Path, weights_dir: Path) -> None:
    """Move staged checkpoints into place, in an order that leaves a fitting pair at every moment.

    The side file goes first and `last.pt` last: it knows the best fitness so far, so best.pt must not lag behind it.
    """
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        _flush(folder / name)
    side = weights_dir / SIDE
    if SIDE in names and side.exists():
        side.replace(weights_dir / PREVIOUS_SIDE)
    for name in sorted(names, key=lambda name: (name != SIDE, name == LAST)):
        (folder / name).replace(weights_dir / name)


def check_origin(side: dict[str, Any], origin: dict[str, Any]) -> None:
    """Stop unless a side file was written with the teacher and the options at hand.

    Args:
        side: what `load_side_file` returned.
        origin: `teacher`, a fingerprint of its checkpoint, and `options`, a mapping.

    Raises:
        FGDError: names what differs.
    """
    if side["teacher"] != origin["teacher"]:
        raise FGDError("this run began with another teacher: resume with the same checkpoint, or start a new run")
    changed = [key for key, value in origin["options"].items() if side["options"].get(key) != value]
    if changed:
        raise FGDError(f"this run began with another {', '.join(changed)}: resume with the same, or start a new run")


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
    """Return the distillation's state that belongs to an epoch, or None; only plain tensors are ever read.

    Its file is `fgd_last.pt` from then on, so that the next epoch's does not push it out while `last.pt` needs it.
    """
    for name in (SIDE, PREVIOUS_SIDE):
        path = weights_dir / name
        if path.is_file():
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["epoch"] == epoch:
                path.replace(weights_dir / SIDE)
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

    The host appends an epoch's row before it writes the epoch's checkpoint, so a kill in between leaves the row alone,
    and a full disk leaves half a row.

    Args:
        results: the host's `results.csv`, with the epoch (from 1) in its first column; may be missing.
        epochs: how many epochs the checkpoint has behind it.
    """
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True) if results.is_file() else []
    numbers = [line.split(",")[0] for line in lines[1:]]
    kept = [line for line, number in zip(lines[1:], numbers, strict=True) if number.isdigit() and int(number) <= epochs]
    if len(kept) < len(numbers):
        partial = results.with_suffix(".partial")
        partial.write_text("".join([lines[0], *kept]), encoding="utf-8")
        partial.replace(results)


def _flush(path: Path) -> None:
    """Bring a file to the disk before its name changes, so that a power cut cannot leave an empty one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
