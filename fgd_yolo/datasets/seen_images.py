"""Which images a checkpoint was trained on, as far as its data is still on this disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fgd_yolo.datasets.dataset import DATA_FOLDER, FRAMES_LIST
from fgd_yolo.datasets.image_places import lines_of
from fgd_yolo.datasets.recorded_data import moved_dataset, split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.files import middle_of_file


def count_seen(weights: str | Path, recorded: Any, images: Iterable[str | Path]) -> int:
    """Return how many of some images a checkpoint was trained on.

    Convention:
        Images are the same if they are one file, or if size and middle (64 KiB) of the files are equal. The unlabelled
        frames of the checkpoint's training count too; of trainings before it nothing is known. A relative path says
        nothing if there is such a file in the current folder, which may be another folder than that of the training.

    Args:
        weights: the checkpoint.
        recorded: the data that it records.
        images: image files; those that cannot be read are not found.
    """
    trained = {os.path.realpath(path) for path in _train_images(weights, recorded)}
    others = [os.path.realpath(path) for path in images]
    unknown = [path for path in others if path not in trained]
    if not trained or not unknown:
        return len(others) - len(unknown)
    sizes = {path: _size(path) for path in (*trained, *unknown)}
    shared = {sizes[path] for path in trained} & {sizes[path] for path in unknown} - {None}
    seen = {_content(path, sizes[path]) for path in trained if sizes[path] in shared} - {None}
    copies = sum(sizes[path] in shared and _content(path, sizes[path]) in seen for path in unknown)
    return len(others) - len(unknown) + copies


def _train_images(weights: str | Path, recorded: Any) -> list[str]:
    """Return the train images, and the unlabelled frames, that a checkpoint records."""
    data = moved_dataset(recorded, Path(weights))
    if isinstance(data, str) and not Path(data).is_absolute() and Path(data).exists():
        return []
    try:
        images = [str(path) for path in split_images(data, "train", "to look for others among")]
    except FGDError:
        images = []
    folder = Path(str(data)).parent
    frames = folder / FRAMES_LIST
    return [*images, *lines_of(str(frames))] if folder.name == DATA_FOLDER and frames.is_file() else images


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _content(path: str, size: int) -> tuple[int, bytes] | None:
    try:
        return size, middle_of_file(Path(path), size)
    except OSError:
        return None
