"""Real images of a dataset as network inputs, for comparison, calibration and measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from fgd_yolo.console import progress
from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError
from fgd_yolo.preprocessing import FLOAT_INPUT, letterbox, place, stretch, to_planes
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.model_info import RTDETR_HEAD
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError

COMPARED_IMAGES = 8


def images_to_compare(
    data: Any, files: Iterable[str | Path] | None = None, count: int = COMPARED_IMAGES, channels: int = 3
) -> tuple[list[np.ndarray], int]:
    """Return the images that an exported file is compared on.

    Args:
        data: dataset whose val split is read, as the user or a checkpoint names it.
        files: image files to read instead, all of them.
        count: number of images, evenly spread over the val split.
        channels: number of channels that the model takes.
    Returns:
        Images of any size as `load_image` reads them, and the number of further images that could not be read.
    Raises:
        FGDError: no image can be read.
    """
    if files is not None:
        paths = [Path(file) for file in files]
    else:
        paths = spread(split_images(data, "val", "to compare the export on"), count)
    images, details = [], []
    for path in paths:
        try:
            images.append(load_image(path, channels=channels))
        except (UnreadableImageError, ImageTooLargeError) as error:
            details.append(f", such as {path}{failure_detail(error)}")
    if not images:
        raise FGDError(f"none of the {len(paths)} images to compare on can be read{''.join(details[:1])}")
    return images, len(details)


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Return at most `count` of the paths, evenly spaced from the first to the last."""
    picks = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[pick] for pick in picks]


def letterbox_images(images: Sequence[np.ndarray], height: int, width: int, stretched: bool = False) -> np.ndarray:
    """Return images letterboxed or stretched to one size: (n, height, width, C) uint8."""
    fit = stretch if stretched else place
    return np.stack([letterbox(image, fit(image.shape[:2], (height, width))) for image in images])


def takes_stretched_images(model: ModelProto) -> bool:
    """Return whether a file is an RT-DETR's, by its metadata."""
    return any((entry.key, entry.value) == ("head", RTDETR_HEAD) for entry in model.metadata_props)


def to_float_input(canvases: np.ndarray) -> np.ndarray:
    """Return letterboxed images (n, H, W, C) as the input of a file with `FLOAT_INPUT`: (n, C, H, W)."""
    count, height, width, channels = canvases.shape
    planes = np.empty((count, channels, height, width), np.float32)
    for index, canvas in enumerate(canvases):
        to_planes(canvas, planes[index : index + 1])
    return planes


def in_batches(canvases: np.ndarray, batch: int) -> list[np.ndarray]:
    """Return all images in batches of one size; the last one is filled up with the first images."""
    picks = np.resize(np.arange(len(canvases)), -(-len(canvases) // batch) * batch)
    return list(canvases[picks.reshape(-1, batch)])


def input_channels(model: ModelProto) -> int:
    """Return the number of channels that a float32 model takes."""
    return model.graph.input[0].type.tensor_type.shape.dim[FLOAT_INPUT.axis("C")].dim_value


def input_batches(
    model: ModelProto, images: Iterable[np.ndarray], imgsz: int | tuple[int, int]
) -> Iterator[np.ndarray]:
    """Yield the inputs of a float32 model, a batch at a time.

    Convention:
        Letterboxed, or stretched for RT-DETR, as in Ultralytics' validator. The last batch of a file with a fixed batch
        is filled up with its first images.
    Args:
        model: the detector; its fixed batch and size take precedence over `imgsz`.
        images: uint8 images of any size, with the model's channels.
        imgsz: height and width, or the side of a square, for a file of dynamic size, in pixels.
    """
    batch, _, *size = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    height, width = size if all(size) else np.broadcast_to(imgsz, 2).tolist()
    batch, images, stretched = batch or 1, iter(images), takes_stretched_images(model)
    while group := list(islice(images, batch)):
        inputs = to_float_input(letterbox_images(group, height, width, stretched))
        yield np.resize(inputs, (batch, *inputs.shape[1:]))


def read_images(paths: Sequence[Path], description: str, channels: int = 3) -> Iterator[np.ndarray]:
    """Yield images that are known to be readable, each read when it is needed, with a progress bar."""
    return (load_image(path, channels=channels) for path in progress(paths, description))
