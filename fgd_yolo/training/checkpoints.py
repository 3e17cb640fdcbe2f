"""Checkpoints on disk: a plain student and a side file with the state that only training needs, written atomically.

Convention:
    `last.pt` is Ultralytics' checkpoint; the side file `fgd_last.safetensors` holds the distiller's tensors and plain
    values, including their epoch. The two are a pair. Both are written to a staging folder on the same disk and
    renamed. The pair of the previous epoch stays in `weights/previous` under the same names, so that a complete pair
    exists at every moment; `restore` falls back to it if the newest pair is damaged. The end of the training removes
    `previous`.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open
from torch import nn
from ultralytics.utils.torch_utils import strip_optimizer

from fgd_yolo.console import display_path, print_status
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path, partial_folder
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.ultralytics import load_checkpoint_file
from fgd_yolo.ultralytics_log import shown_as

LAST, BEST = "last.pt", "best.pt"
SIDE = "fgd_last.safetensors"
PREVIOUS = "previous"

_HEADER = "fgd_yolo"  # the only metadata entry of the side file: all values except the tensors, as JSON
_PLAIN = {"epoch": int, "teacher": str, "options": dict}  # required in every side file, besides the tensors
_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.EIO),
}


@contextmanager
def staging(weights_dir: Path) -> Iterator[Path]:
    """Yield an empty staging folder on the same disk as the checkpoints; it is removed at the end.

    Raises:
        FGDError: the disk is full or not writable (the files already in `weights_dir` are untouched), or the folder
            was removed.
    """
    check_folder(weights_dir)
    try:
        with partial_folder(weights_dir) as folder, shown_as(folder, weights_dir):
            yield folder
    except OSError as error:
        check_folder(weights_dir)
        if error.errno not in _CANNOT_WRITE:
            raise
        earlier = (weights_dir / LAST).is_file()
        advice = "the previous ones are intact: make room, then resume" if earlier else "make room, then start again"
        raise FGDError(f"cannot write checkpoints to {weights_dir} ({error.strerror or error}); {advice}") from error


def check_folder(weights_dir: Path) -> None:
    """Stop if the folder of the checkpoints no longer exists.

    Raises:
        FGDError: it was removed.
    """
    if not weights_dir.is_dir():
        raise FGDError(f"{weights_dir} was removed while the training ran: start again")


def write_side_file(folder: Path, state: dict[str, Any]) -> None:
    """Write the side file to a folder.

    Args:
        folder: usually the staging folder.
        state: `losses` with tensors by name, and plain values including `epoch`.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in state["losses"].items()}
    plain = {key: value for key, value in state.items() if key != "losses"}
    data = safetensors.torch.save(tensors, metadata={_HEADER: json.dumps(plain)})
    (folder / SIDE).write_bytes(data)  # safetensors' own writer would not raise OSError on a full disk


def read_side_file(path: Path) -> dict[str, Any]:
    """Read a side file, which holds tensors and plain values and no code.

    Raises:
        FGDError: it cannot be read, or is damaged.
    """
    _check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()[_HEADER])
            state["losses"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except Exception as error:  # errors of safetensors, and of an incomplete header
        raise FGDError(f"{display_path(path)} is damaged ({one_line(error, 100)})") from error
    wrong = [key for key, kind in _PLAIN.items() if not isinstance(state.get(key), kind)]
    if wrong:
        raise FGDError(f"{display_path(path)} is damaged (missing or invalid: {', '.join(wrong)})")
    return state


def commit(folder: Path, weights_dir: Path, final: bool = False) -> None:
    """Move staged checkpoints into place, in an order that leaves a complete pair at every moment.

    `last.pt` is moved last: it records the best fitness so far, so best.pt must not be older.

    Args:
        folder: the staging folder.
        weights_dir: final folder of the checkpoints.
        final: whether the training is over, so that the previous pair is removed.
    """
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        _flush(folder / name)
    if not final:
        _keep_pair(weights_dir, folder / PREVIOUS)
    for name in sorted(names, key=lambda name: name == LAST):
        (folder / name).replace(weights_dir / name)
    if final:
        shutil.rmtree(weights_dir / PREVIOUS, ignore_errors=True)


def _keep_pair(weights_dir: Path, staged: Path) -> None:
    """Make the current pair the previous one, with hard links if the file system supports them."""
    if not (weights_dir / LAST).is_file():
        return
    staged.mkdir()
    for path in (weights_dir / LAST, weights_dir / SIDE):
        if path.is_file():
            try:
                os.link(path, staged / path.name)
            except OSError:
                shutil.copy2(path, staged / path.name)
    shutil.rmtree(weights_dir / PREVIOUS, ignore_errors=True)
    staged.replace(weights_dir / PREVIOUS)


def check_origin(side: dict[str, Any], origin: dict[str, Any]) -> None:
    """Stop unless a side file was written with the current teacher and options.

    Args:
        side: content of the side file.
        origin: current `teacher` (SHA-256 of the checkpoint) and `options` (a mapping).

    Raises:
        FGDError: the teacher or an option differs; the message names it.
    """
    if side["teacher"] != origin["teacher"]:
        raise FGDError("this run was started with another teacher: resume with the same checkpoint, or start a new run")
    changed = [key for key, value in origin["options"].items() if side["options"].get(key) != value]
    if changed:
        raise FGDError(
            f"this run was started with another {', '.join(changed)}: resume with the same, or start a new run"
        )


def copy_checkpoints(weights_dir: Path, folder: Path) -> None:
    """Copy the student's final checkpoints into a staging folder."""
    for name in (LAST, BEST):
        if (weights_dir / name).exists():
            shutil.copy2(weights_dir / name, folder / name)


@contextmanager
def redirected(trainer, folder: Path) -> Iterator[None]:
    """Redirect the checkpoints of an Ultralytics trainer to another folder for a block."""
    original = trainer.wdir, trainer.last, trainer.best
    trainer.wdir, trainer.last, trainer.best = folder, folder / LAST, folder / BEST
    try:
        yield
    finally:
        trainer.wdir, trainer.last, trainer.best = original


def resumable(weights_dir: Path) -> Path | None:
    """Return the checkpoint that a training can resume from, or None if none is left to resume; nothing is changed.

    Raises:
        FGDError: `last.pt` is damaged.
    """
    last = weights_dir / LAST
    if not last.exists():
        return None
    checkpoint = _read_checkpoint(last)
    return last if checkpoint["epoch"] >= 0 and checkpoint.get("optimizer") is not None else None


def restore(weights_dir: Path) -> Path | None:
    """Return the checkpoint that a training can resume from, after putting its side file in place.

    A damaged newest pair is replaced by the previous pair, with a warning.

    Returns:
        `last.pt`, or None if no epoch has been saved or the training is over.

    Raises:
        FGDError: no complete pair is left, or a file is not readable; the message says what to do.
    """
    last, previous = weights_dir / LAST, weights_dir / PREVIOUS / LAST
    if not last.exists() and not previous.exists():
        return None
    for path in (last, weights_dir / SIDE):  # an unreadable file may be intact and is not replaced
        if path.exists():
            _check_readable(path)
    try:
        checkpoint = _read_checkpoint(last)
        if not _unfinished(checkpoint):
            return None
        _put_side_file_in_place(weights_dir, checkpoint["epoch"])
        return last
    except FGDError as error:
        problem = error
    if is_finished(weights_dir / BEST):
        print_status(f"!! {one_line(problem, 220)}; the training had ended and {BEST} is intact, so {BEST} is used")
        return None
    try:
        epoch = _read_checkpoint(previous)["epoch"]
        side = previous.with_name(SIDE)
        if _has_side_files(weights_dir) and read_side_file(side)["epoch"] != epoch:
            raise FGDError(f"{side} belongs to another epoch")
    except FGDError as error:
        raise FGDError(f"{one_line(problem, 220)}; the previous pair is not intact either: start a new run") from error
    for path in filter(Path.is_file, (side, previous)):
        _copy(path, weights_dir / path.name)
    print_status(f"!! {one_line(problem, 220)}: resuming from the previous checkpoint, of epoch {epoch + 1}")
    return last


@safe_loading()
def complete(weights_dir: Path) -> None:
    """Bring the checkpoints of a training that was killed in its final evaluation into their final form.

    Does nothing if they have it. `best.pt` must exist and be intact.

    Raises:
        FGDError: the disk is full or not writable.
    """
    if is_finished(weights_dir / BEST) and not (weights_dir / PREVIOUS).exists():
        return
    with staging(weights_dir) as folder:
        copy_checkpoints(weights_dir, folder)
        last = strip_optimizer(folder / LAST) if (folder / LAST).exists() else {}
        strip_optimizer(folder / BEST, updates={"train_results": last.get("train_results")})  # of all epochs
        commit(folder, weights_dir, final=True)


def is_finished(best: Path) -> bool:
    """Return whether a checkpoint is intact and final, that is, without an optimizer state."""
    try:
        return load_checkpoint_file(best).get("optimizer") is None
    except FGDError:
        return False


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Read `last.pt` and check its model; its epoch is -1 if the training is over.

    Raises:
        FGDError: it cannot be read, or is damaged.
    """
    _check_readable(path)
    try:
        checkpoint = load_checkpoint_file(path)
    except FGDError as error:
        # The original message is long and names a temporary file.
        raise FGDError(f"{display_path(path)} is damaged, or not an Ultralytics checkpoint") from error
    model, epoch = checkpoint.get("ema") or checkpoint.get("model"), checkpoint.setdefault("epoch", -1)
    if not isinstance(model, nn.Module) or not isinstance(epoch, int):
        raise FGDError(f"{display_path(path)} is damaged: it has no model or no epoch")
    if not all(value.isfinite().all() for value in model.state_dict().values()):
        raise FGDError(f"{display_path(path)} is damaged: its weights contain NaN or infinity")
    return checkpoint


def _unfinished(checkpoint: dict[str, Any]) -> bool:
    if checkpoint["epoch"] < 0 or checkpoint.get("optimizer") is None:
        return False
    epochs = (checkpoint.get("train_args") or {}).get("epochs")
    if not isinstance(epochs, int):
        raise FGDError(f"{LAST} is damaged: it has no train arguments")
    return checkpoint["epoch"] + 1 < epochs


def _has_side_files(weights_dir: Path) -> bool:
    return any((folder / SIDE).exists() for folder in (weights_dir, weights_dir / PREVIOUS))


def _put_side_file_in_place(weights_dir: Path, epoch: int) -> None:
    """Put the side file of an epoch beside `last.pt`, where a killed training may have left that of the next epoch.

    Raises:
        FGDError: there are side files, but none of this epoch.
    """
    if not _has_side_files(weights_dir):
        return  # a training without distillation
    place, reasons = weights_dir / SIDE, []
    for path in (place, weights_dir / PREVIOUS / SIDE):
        try:
            if read_side_file(path)["epoch"] == epoch:
                if path != place:
                    _copy(path, place)
                return
            reasons.append(f"{path} belongs to another epoch than {LAST}")
        except FGDError as error:
            reasons.append(one_line(error))
    raise FGDError(reasons[0])


def load_side_file(weights_dir: Path, epoch: int) -> dict[str, Any]:
    """Return the content of an epoch's side file.

    Raises:
        FGDError: there is none, or it is damaged.
    """
    path = weights_dir / SIDE
    if not path.exists():
        raise FGDError(
            f"{weights_dir} has no {SIDE} for epoch {epoch + 1}, so it cannot be resumed: "
            f"start a new run from its {LAST}"
        )
    side = read_side_file(path)
    if side["epoch"] != epoch:
        raise FGDError(f"{path} belongs to epoch {side['epoch'] + 1}, not {epoch + 1}: start a new run from {LAST}")
    return side


def drop_later_rows(results: Path, epochs: int) -> None:
    """Keep one complete row for each epoch that a resumed training does not repeat, and drop all others.

    Ultralytics appends an epoch's row before it writes the epoch's checkpoint, so a kill in between leaves a row
    without a checkpoint, and a full disk leaves half a row.

    Args:
        results: Ultralytics' `results.csv`, with the epoch (from 1) in its first column; may be missing.
        epochs: number of epochs that the checkpoint has completed.
    """
    if not results.exists():
        return
    _check_readable(results)
    text = results.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        results.unlink()  # Ultralytics writes the header only to a new file
        return
    header = lines[0].split(",")
    by_epoch = {}
    for line in lines[1:] if header[0].strip() == "epoch" else []:
        numbers = _numbers(line)
        if len(numbers) == len(header) and numbers[0] in range(1, epochs + 1):
            by_epoch[int(numbers[0])] = line
    rows = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    missing = epochs - len(rows)
    if missing:
        print_status(f"!! {results}: the rows of {missing} of {epochs} epochs are missing or damaged, and are left out")
    if not rows:
        results.unlink()
    elif (complete := "\n".join([lines[0], *rows]) + "\n") != text:
        with atomic_path(results) as path:
            path.write_text(complete, encoding="utf-8")


def _numbers(line: str) -> list[float]:
    """Return the numbers of a row, or an empty list if any field is not a number."""
    try:
        return [float(field) for field in next(csv.reader([line]))]
    except (ValueError, csv.Error, StopIteration):
        return []


def _check_readable(path: Path) -> None:
    """Stop if a path is missing, is a folder, or cannot be read: a file that cannot be read may be intact.

    Raises:
        FGDError: it is any of these.
    """
    if path.is_dir():
        raise FGDError(f"{path} is a folder and should be a file: move it away")
    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        raise FGDError(f"{path} is missing") from error
    except OSError as error:
        raise FGDError(f"{path} cannot be read ({error.strerror})") from error


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as path:
        shutil.copy2(source, path)


def _flush(path: Path) -> None:
    """Flush a file to disk before it is renamed, so that a power cut cannot leave an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
