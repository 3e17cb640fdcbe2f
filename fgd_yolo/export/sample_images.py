"""The real images that an exported file is compared on, prepared as the host prepares them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo import preprocessing
from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.preprocessing import place, to_planes
from fgd_yolo.runtime.images import read_image

COMPARED_IMAGES = 8


def load_photos(
    *, data: str | Path | None, recorded: Any, files: Iterable[str | Path] | None
) -> tuple[list[np.ndarray], int]:
    """Return real images, and how many more could not be read.

    Args:
        data: dataset YAML given by the user; its val split is read.
        recorded: what the checkpoint says it was trained on, used when neither of the others is given.
        files: image files, taken as they are.
    Returns:
        BGR uint8 images of any size, at most eight from a dataset, spread over its val split; and a count.
    Raises:
        FGDError: there is no image that can be read.
    """
    if files is not None:
        paths = [Path(file) for file in files]
    else:
        paths = spread(
            split_images(data if data is not None else recorded, "val", "to compare the export on"), COMPARED_IMAGES
        )
    photos = [photo for photo in map(read_image, paths) if photo is not None]
    if not photos:
        first = f", {paths[0]} for one" if paths else ""
        raise FGDError(f"none of the {len(paths)} images to compare on can be read{first}")
    return photos, len(paths) - len(photos)


def letterbox(photos: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Return the photos scaled by one factor each, centred, and padded with grey 114: (n, height, width, 3) BGR."""
    return np.stack([preprocessing.letterbox(photo, place(photo.shape[:2], (height, width))) for photo in photos])


def as_input(pixels: np.ndarray) -> np.ndarray:
    """Return what a file with a float input wants, from letterboxed photos: (n, 3, H, W), RGB, in [0, 1]."""
    count, height, width, _ = pixels.shape
    planes = np.empty((count, 3, height, width), np.float32)
    for index, canvas in enumerate(pixels):
        to_planes(canvas, planes[index : index + 1])
    return planes


def in_batches(pixels: np.ndarray, batch: int) -> list[np.ndarray]:
    """Return all images in batches of that many; the last one is filled up with the first images."""
    picks = np.resize(np.arange(len(pixels)), -(-len(pixels) // batch) * batch)
    return list(pixels[picks.reshape(-1, batch)])


def spread(paths: list[Path], count: int) -> list[Path]:
    """Return at most that many of the paths, evenly spaced."""
    picks = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[pick] for pick in picks]
