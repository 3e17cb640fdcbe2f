"""Checkpoints on disk: a plain student and, beside it, what only training needs; never half of either.

Convention:
    `last.pt` is Ultralytics' checkpoint, `fgd_last.safetensors` holds the distillation's tensors and names the epoch
    that it belongs to: a pair. Both are written in a folder beside `weights` and renamed. The pair of the epoch before
    is kept in `weights/previous` under the same names, so that at every moment one whole pair is there, and `restore`
    takes it where the newest one is damaged. When the training is over `previous` is removed.
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

from fgd_yolo.console import display_path, print_status
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path, partial_folder
from fgd_yolo.ultralytics import load_checkpoint_file

LAST, BEST = "last.pt", "best.pt"
SIDE = "fgd_last.safetensors"
PREVIOUS = "previous"

_HEADER = "fgd_yolo"  # the side file's one entry of metadata: all that is not a tensor, as JSON
_PLAIN = {"epoch": int, "teacher": str, "options": dict}  # what every side file holds besides tensors
_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.EIO),
}


@contextmanager
def staging(weights_dir: Path) -> Iterator[Path]:
    """Give an empty folder on the same disk as the checkpoints; whatever is left in it at the end is removed.

    Raises:
        FGDError: the disk is full or may not be written, and the files already in `weights_dir` are untouched; or the
            folder was removed.
    """
    check_folder(weights_dir)
    try:
        with partial_folder(weights_dir) as folder:
            yield folder
    except OSError as error:
        check_folder(weights_dir)
        if error.errno not in _CANNOT_WRITE:
            raise
        earlier = (weights_dir / LAST).is_file()
        advice = "the previous ones are intact: make room, then resume" if earlier else "make room, then start again"
        raise FGDError(f"cannot write checkpoints to {weights_dir} ({error.strerror or error}); {advice}") from error


def check_folder(weights_dir: Path) -> None:
    """Stop where the folder of the checkpoints is gone.

    Raises:
        FGDError: it is.
    """
    if not weights_dir.is_dir():
        raise FGDError(f"{weights_dir} was removed while the training ran: start again")


def write_side_file(folder: Path, state: dict[str, Any]) -> None:
    """Write the distillation's state into a staging folder.

    Args:
        folder: to write to.
        state: `losses`, tensors by name, and plain values, `epoch` among them.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in state["losses"].items()}
    plain = {key: value for key, value in state.items() if key != "losses"}
    data = safetensors.torch.save(tensors, metadata={_HEADER: json.dumps(plain)})
    (folder / SIDE).write_bytes(data)  # a full disk is then the system's error, not the library's


def read_side_file(path: Path) -> dict[str, Any]:
    """Read a side file: tensors and plain values, so that nothing in it can be executed.

    Raises:
        FGDError: it cannot be read, or is damaged.
    """
    _check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()[_HEADER])
            state["losses"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except Exception as error:  # the library has an error of its own, and Python's for what the header lacks
        raise FGDError(f"{display_path(path)} is damaged ({one_line(error, 100)})") from error
    wrong = [key for key, kind in _PLAIN.items() if not isinstance(state.get(key), kind)]
    if wrong:
        raise FGDError(f"{display_path(path)} is damaged (no usable {', '.join(wrong)} in it)")
    return state


def commit(folder: Path, weights_dir: Path, final: bool = False) -> None:
    """Move staged checkpoints into place, in an order that leaves a whole pair at every moment.

    `last.pt` goes last: it knows the best fitness so far, so best.pt must not lag behind it.

    Args:
        folder: of `staging`.
        weights_dir: where the checkpoints belong.
        final: the training is over: no earlier pair is needed any more.
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
    """Make the present pair the previous one, without writing it again where the disk knows hard links."""
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
    """Stop unless a side file was written with the teacher and the options at hand.

    Args:
        side: what `read_side_file` returned.
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
    for name in (LAST, BEST):
        if (weights_dir / name).exists():
            shutil.copy2(weights_dir / name, folder / name)


@contextmanager
def redirected(trainer, folder: Path) -> Iterator[None]:
    """Let a host trainer write its checkpoints to another folder for a block."""
    kept = trainer.wdir, trainer.last, trainer.best
    trainer.wdir, trainer.last, trainer.best = folder, folder / LAST, folder / BEST
    try:
        yield
    finally:
        trainer.wdir, trainer.last, trainer.best = kept


def resumable(weights_dir: Path) -> Path | None:
    """Return the checkpoint that a training can continue from, or None if there is none or it has ended.

    Raises:
        FGDError: `last.pt` is damaged.
    """
    last = weights_dir / LAST
    if not last.exists():
        return None
    checkpoint = _read_checkpoint(last)
    return last if checkpoint["epoch"] >= 0 and checkpoint.get("optimizer") is not None else None


def restore(weights_dir: Path) -> Path | None:
    """Return the checkpoint that a training can continue from, with the side file that belongs to it in place.

    Where the newest pair is damaged the previous one takes its place, with a warning.

    Returns:
        `last.pt`, or None if no epoch has been saved or the training is over.

    Raises:
        FGDError: no whole pair is left, or a file must not be read; the message says what to do.
    """
    last, previous = weights_dir / LAST, weights_dir / PREVIOUS / LAST
    if not last.exists() and not previous.exists():
        return None
    for path in (last, weights_dir / SIDE):  # what may be whole is not replaced
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
        print_status(f"!! {one_line(problem, 220)}; the training had ended, and {BEST} is whole: it is used")
        return None
    try:
        epoch = _read_checkpoint(previous)["epoch"]
        side = previous.with_name(SIDE)
        if _has_side_files(weights_dir) and read_side_file(side)["epoch"] != epoch:
            raise FGDError(f"{side} is of another epoch")
    except FGDError as error:
        raise FGDError(f"{one_line(problem, 220)}; no earlier pair of checkpoints is whole: start a new run") from error
    for path in filter(Path.is_file, (side, previous)):
        _copy(path, weights_dir / path.name)
    print_status(f"!! {one_line(problem, 220)}: resuming from the checkpoint before, of epoch {epoch + 1}")
    return last


def is_finished(best: Path) -> bool:
    """Return whether a checkpoint is whole and what a training's end leaves: without the optimizer's state."""
    try:
        return load_checkpoint_file(best).get("optimizer") is None
    except FGDError:
        return False


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Read `last.pt` and what resuming needs of it: epoch, optimizer and train arguments, or an epoch below 0.

    Raises:
        FGDError: it cannot be read, or is damaged.
    """
    _check_readable(path)
    try:
        checkpoint = load_checkpoint_file(path)
    except FGDError as error:
        # Ultralytics' reason is a paragraph about a file in a temporary folder.
        raise FGDError(f"{display_path(path)} is damaged or no checkpoint of Ultralytics") from error
    model, epoch = checkpoint.get("ema") or checkpoint.get("model"), checkpoint.setdefault("epoch", -1)
    if not isinstance(model, nn.Module) or not isinstance(epoch, int):
        raise FGDError(f"{display_path(path)} is damaged: it lacks a model or its epoch")
    if not all(value.isfinite().all() for value in model.state_dict().values()):
        raise FGDError(f"{display_path(path)} is damaged: its weights hold NaN or infinity")
    return checkpoint


def _unfinished(checkpoint: dict[str, Any]) -> bool:
    if checkpoint["epoch"] < 0 or checkpoint.get("optimizer") is None:
        return False
    epochs = (checkpoint.get("train_args") or {}).get("epochs")
    if not isinstance(epochs, int):
        raise FGDError(f"{LAST} is damaged: it lacks its train arguments")
    return checkpoint["epoch"] + 1 < epochs


def _has_side_files(weights_dir: Path) -> bool:
    return any((folder / SIDE).exists() for folder in (weights_dir, weights_dir / PREVIOUS))


def _put_side_file_in_place(weights_dir: Path, epoch: int) -> None:
    """See that the side file beside `last.pt` is the one that belongs to it; a kill may have left the next epoch's.

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
            reasons.append(f"{path} is of another epoch than {LAST}")
        except FGDError as error:
            reasons.append(one_line(error))
    raise FGDError(reasons[0])


def load_side_file(weights_dir: Path, epoch: int) -> dict[str, Any]:
    """Return the distillation's state that belongs to an epoch.

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
        raise FGDError(f"{path} is of epoch {side['epoch'] + 1}, not {epoch + 1}: start a new run from {LAST}")
    return side


def drop_later_rows(results: Path, epochs: int) -> None:
    """Keep one whole row for each epoch that a resumed training has behind it, and drop all others.

    The host appends an epoch's row before it writes the epoch's checkpoint, so a kill in between leaves the row alone,
    and a full disk leaves half a row.

    Args:
        results: the host's `results.csv`, with the epoch (from 1) in its first column; may be missing.
        epochs: how many epochs the checkpoint has behind it.
    """
    if not results.exists():
        return
    _check_readable(results)
    text = results.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        results.unlink()  # Ultralytics writes a header where there is no file
        return
    header = lines[0].split(",")
    by_epoch = {}
    for line in lines[1:] if header[0].strip() == "epoch" else []:
        numbers = _numbers(line)
        if len(numbers) == len(header) and numbers[0] in range(1, epochs + 1):
            by_epoch[int(numbers[0])] = line
    kept = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    missing = epochs - len(kept)
    if missing:
        print_status(
            f"!! {results} lacks the rows of {missing} of {epochs} epochs, or they are damaged: they are left out"
        )
    if not kept:
        results.unlink()
    elif (whole := "\n".join([lines[0], *kept]) + "\n") != text:
        with atomic_path(results) as path:
            path.write_text(whole, encoding="utf-8")


def _numbers(line: str) -> list[float]:
    """The numbers of a row, or none where one of its fields is no number."""
    try:
        return [float(field) for field in next(csv.reader([line]))]
    except (ValueError, csv.Error, StopIteration):
        return []


def _check_readable(path: Path) -> None:
    """Stop on what must not be replaced: a folder, or a file that may be whole but cannot be read.

    Raises:
        FGDError: says what to do.
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
    """Bring a file to the disk before its name changes, so that a power cut cannot leave an empty one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
