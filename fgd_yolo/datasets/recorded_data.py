"""The data that run folders and checkpoints name: nothing is run, downloaded or unpacked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fgd_yolo.datasets.dataset import DATA_FOLDER, SPLITS
from fgd_yolo.datasets.image_places import listed_places, place_exists
from fgd_yolo.datasets.reading import read_dataset
from fgd_yolo.errors import FGDError, one_line


def split_images(data: Any, split: str, purpose: str) -> list[Path]:
    """Return the images of a split of a data set on this disk; nothing is run, downloaded or unpacked.

    Args:
        data: data YAML given by the user or recorded in a checkpoint; None without either.
        split: `train` or `val`.
        purpose: purpose of the images for the error message, such as "to calibrate int8 on".

    Raises:
        FGDError: the data set is not on this disk, or has no image in the split.
    """
    problem = f"no real images {purpose}"
    advice = f"pass data= (--data) with a dataset YAML whose {split} images are on this disk"
    if data is None:
        raise FGDError(f"{problem}: the checkpoint names no data; {advice}")
    try:
        return read_dataset(data, split=split, recorded=True).images(split)
    except FGDError as error:
        raise FGDError(f"{problem}: {one_line(error)[:200]}; {advice}") from error


def run_dataset(run_dir: Path) -> Path | None:
    """Return the copy of the data YAML in a run folder, or None."""
    return next(iter(sorted((run_dir / DATA_FOLDER).glob("*.yaml"))), None)


def moved_dataset(recorded: Any, weights: Path) -> Any:
    """Return the data that a checkpoint names, or the copy in its run folder if that folder has been moved.

    Args:
        recorded: `data` of the checkpoint's train arguments.
        weights: the checkpoint, in a run folder or in `STAGE/weights` of one.
    """
    if isinstance(recorded, str) and Path(recorded).parent.name == DATA_FOLDER and not Path(recorded).exists():
        copies = [folder / DATA_FOLDER / Path(recorded).name for folder in weights.absolute().parents[:3]]
        return next((str(file) for file in copies if file.is_file()), recorded)
    return recorded


def has_images(data: str | Path) -> bool:
    """Return whether a data YAML of a run folder can be read and its images exist."""
    try:
        info = read_dataset(data, recorded=True).info
    except FGDError:
        return False
    return all(place_exists(place) for split in SPLITS for place in listed_places(info.get(split)))


def same_images(one: str | Path, other: str | Path) -> bool:
    """Return whether two data YAMLs on this disk name the same classes and the same train and val images."""
    try:
        first, second = read_dataset(one, recorded=True), read_dataset(other, recorded=True)
        return first.names == second.names and all(
            sorted(first.images(split)) == sorted(second.images(split)) for split in ("train", "val")
        )
    except FGDError:
        return False
