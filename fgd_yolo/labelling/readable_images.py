"""Read images for a model a few at a time, and leave out those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from ultralytics.utils import LOGGER, colorstr

from fgd_yolo.console import progress
from fgd_yolo.errors import FGDError
from fgd_yolo.labelling.image_labels import ImageLabels
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError
from fgd_yolo.text import listed

ReadImage = tuple[Path, np.ndarray]
"""A file, and its image (H, W, C) uint8 as `load_image` reads it."""


def label_readable(
    images: Sequence[Path],
    label: Callable[[list[ReadImage]], list[ImageLabels]],
    *,
    channels: int,
    batch: int,
    description: str,
) -> list[ImageLabels]:
    """Label the images that can be read, in order; those that cannot are counted in a warning.

    Args:
        images: image files.
        label: labels at most `batch` images.
        channels: number of channels that the model takes.
        batch: images that are in memory at a time.
        description: what the progress bar says.

    Raises:
        FGDError: none of the images can be read.
    """
    labels: list[ImageLabels] = []
    unreadable: dict[Path, str] = {}
    paths = progress(images, description) if images else iter(())
    for chunk in _chunks(paths, channels, batch, unreadable):
        labels += label(chunk)
    if unreadable:
        path, detail = next(iter(unreadable.items()))
        if not labels:
            raise FGDError(f"none of the {len(images)} images can be read, such as {path}{detail}")
        LOGGER.warning(
            f"{colorstr('FGD:')} {len(unreadable)} of {len(images)} images cannot be read and are left out: "
            f"{listed(unreadable)}"
        )
    return labels


def _chunks(paths: Iterator[Path], channels: int, batch: int, unreadable: dict[Path, str]) -> Iterator[list[ReadImage]]:
    """Yield the images that can be read, `batch` at a time; collect why others cannot be read."""
    chunk: list[ReadImage] = []
    for path in paths:
        try:
            chunk.append((Path(path), load_image(path, channels=channels)))
        except (UnreadableImageError, ImageTooLargeError) as error:
            unreadable[Path(path)] = failure_detail(error)
        if len(chunk) == batch:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
