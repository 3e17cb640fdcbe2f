"""One training inside a run folder, which a later process can take up where a kill left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from fgd_yolo.distillation.state import resumable
from fgd_yolo.distillation.wording import say
from fgd_yolo.errors import FGDError
from fgd_yolo.host import load_checkpoint_file


def train_stage(model: str, trainer, data: str, folder: Path, train: Mapping[str, Any], device: Any = None) -> Path:
    """Train, or go on training, into `folder`, and return the best checkpoint.

    Args:
        model: `.pt` or model YAML to start from; not read again when there is something to go on with.
        trainer: trainer class.
        data: dataset YAML.
        folder: the host's own run folder; its name says which stage this is.
        train: Ultralytics train arguments.
        device: replaces the device of the arguments when a training is resumed.
    """
    weights_dir = folder / "weights"
    last = _unfinished(weights_dir)
    if last is not None:
        say(f"{folder.name}: going on from {last}")
        moved = {"save_dir": str(folder), **({} if device is None else {"device": device})}
        YOLO(str(last)).train(trainer=trainer, data=data, resume=str(last), **moved)
    elif not (weights_dir / "last.pt").is_file():
        place = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
        YOLO(model).train(trainer=trainer, data=data, **train, **place)
    best = weights_dir / "best.pt"
    if not best.is_file():
        raise FGDError(f"{folder.name}: the training ended without {best}, so no epoch had a usable result")
    return best


def _unfinished(weights_dir: Path) -> Path | None:
    """Return the checkpoint to go on from, or None where there is none or its last epoch is done."""
    last = resumable(weights_dir)
    if last is None:
        return None
    checkpoint = load_checkpoint_file(last)
    return last if checkpoint["epoch"] + 1 < checkpoint["train_args"]["epochs"] else None
