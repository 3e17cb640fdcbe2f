"""Ultralytics' data sets of images without labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image, UnidentifiedImageError
from ultralytics.data import YOLODataset
from ultralytics.data.utils import exif_size
from ultralytics.utils import LOGGER, NUM_THREADS

from fgd_yolo.errors import FGDError


@contextmanager
def without_labels() -> Iterator[None]:
    """Let Ultralytics' data sets that are built in this block have images without labels.

    Label files and label caches are neither read nor written, wherever they are; images that cannot be opened are left
    out.
    """
    with patch.object(YOLODataset, "get_labels", _empty_labels):
        yield


def _empty_labels(dataset: YOLODataset) -> list[dict[str, Any]]:
    """Return the labels of images without objects, in the place of `YOLODataset.get_labels`."""
    with ThreadPool(NUM_THREADS) as pool:
        shapes = pool.map(_image_shape, dataset.im_files)
    readable = [(file, shape) for file, shape in zip(dataset.im_files, shapes, strict=True) if shape is not None]
    if not readable:
        raise FGDError(f"none of the {len(shapes)} unlabelled frames can be read, such as {dataset.im_files[0]}")
    if len(readable) < len(shapes):
        LOGGER.warning(f"{dataset.prefix}{len(shapes) - len(readable)} unlabelled frames cannot be read: left out")
    dataset.im_files = [file for file, _ in readable]
    keypoints = np.zeros((0, *dataset.data["kpt_shape"]), np.float32) if dataset.use_keypoints else None
    return [
        {
            "im_file": file,
            "shape": shape,
            "cls": np.zeros((0, 1), np.float32),
            "bboxes": np.zeros((0, 4), np.float32),
            "segments": [],
            "keypoints": keypoints,
            "normalized": True,
            "bbox_format": "xywh",
        }
        for file, shape in readable
    ]


def _image_shape(file: str) -> tuple[int, int] | None:
    """Return height and width of an image as Ultralytics reads it, upright; None if it cannot be opened."""
    try:
        with Image.open(file) as image:
            width, height = exif_size(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError):
        return None
    return height, width
