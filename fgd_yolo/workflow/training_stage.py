"""One training inside a run folder, which a later process can take up where a kill left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from fgd_yolo.console import display_path, print_status
from fgd_yolo.errors import FGDError
from fgd_yolo.locking import remove_stale_lock
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.training.checkpoints import BEST, LAST, is_finished, restore
from fgd_yolo.ultralytics import load_checkpoint_file


@safe_loading()
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
    best = weights_dir / BEST
    remove_stale_lock(folder)  # a training that has ended takes no lock again
    last = restore(weights_dir)
    if last is not None:
        print_status(f"{folder.name}: resuming from {last}")
        # The checkpoint's own data and teacher would win otherwise, and it may come from anywhere.
        moved = {"save_dir": str(folder), "distill_model": train.get("distill_model")}
        moved |= {} if device is None else {"device": device}
        YOLO(str(last)).train(trainer=trainer, data=data, resume=str(last), **moved)
    elif not (weights_dir / LAST).is_file() and not is_finished(best):
        place = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
        YOLO(model).train(trainer=trainer, data=data, **train, **place)
    if not best.is_file():
        raise FGDError(f"{folder.name}: the training ended without {best}, so no epoch had a usable result")
    try:
        load_checkpoint_file(best)
    except FGDError as error:
        way = f"copy {LAST} over it to take the last epoch's weights, or start a new run"
        raise FGDError(f"{display_path(best)} is damaged or no checkpoint of Ultralytics: {way}") from error
    return best
