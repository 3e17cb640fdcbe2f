"""Images letterboxed to the network's input, with the objects that FGD derives its masks from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fgd_yolo.attention.image_objects import ImageObjects
from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.preprocessing import letterbox, place, stretch, to_planes
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.media import list_images
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError
from fgd_yolo.task_table import TASKS, YoloTask

LABELS = "labels"
DETECTIONS = "teacher's detections"


class LabelledImage(NamedTuple):
    """An image letterboxed to the network's input, with its objects.

    Args:
        name: file name.
        canvas: (H, W, C) uint8, letterboxed.
        objects: objects, as fractions of the canvas.
        source: where they come from: "labels" or "teacher's detections".
        task: task whose foreground they are.
    """

    name: str
    canvas: np.ndarray
    objects: ImageObjects
    source: str
    task: YoloTask = TASKS["detect"]

    @property
    def tensor(self) -> Tensor:
        """The network's input, (1, C, H, W) in [0, 1], RGB for three channels."""
        height, width, channels = self.canvas.shape
        return torch.from_numpy(to_planes(self.canvas, np.empty((1, channels, height, width), np.float32)))

    @property
    def drawn(self) -> str:
        """What is drawn of the objects, in words: what the foreground of the task is made of."""
        return self.task.measured if self.task.foreground else "boxes"

    def foreground(self, grid: tuple[int, int]) -> Tensor:
        """Return the weights (1, H, W) of the foreground on a grid (H, W) of cells."""
        return self.objects.foreground(self.task, grid, self.canvas.shape[:2])


def find_images(sources: list[str]) -> list[Path]:
    """Return the images of files, folders and glob patterns, or the val images of a dataset YAML.

    Raises:
        UsageError: the sources hold no image, or a dataset is given together with other sources.
        FGDError: the dataset is not on this disk.
    """
    datasets = [source for source in sources if Path(source).suffix in {".yaml", ".yml"}]
    if not datasets:
        return list(dict.fromkeys(path for source in sources for path in list_images(source)))
    if len(sources) > 1:
        raise UsageError(f"--source {datasets[0]} is a dataset: give it alone, or give images instead")
    return split_images(datasets[0], "val", "to draw")


def load_letterboxed(
    path: Path,
    objects: ImageObjects,
    source: str,
    side_px: int,
    channels: int = 3,
    task: YoloTask = TASKS["detect"],
) -> LabelledImage:
    """Read an image and letterbox it with its objects to a square, as in training without augmentation.

    For a task of stretched images (RT-DETR) it is stretched instead.

    Args:
        path: image file.
        objects: objects, as fractions of the image.
        source: where they come from, `LABELS` or `DETECTIONS`.
        side_px: side of the square, in pixels.
        channels: number of channels that the models take.
        task: task whose foreground is drawn.

    Raises:
        FGDError: the file cannot be read as an image of these channels.
    """
    try:
        image = load_image(path, channels=channels)
    except (UnreadableImageError, ImageTooLargeError) as error:
        raise FGDError(f"{path} cannot be read as an image{failure_detail(error)}: leave it out") from None
    placement = (stretch if task.stretched else place)(image.shape[:2], (side_px, side_px))
    (height, width), top, left = placement.content, placement.top, placement.left
    placed = objects.placed(torch.tensor([width, height]), torch.tensor([left, top]), side_px)
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a name that is not UTF-8 cannot be drawn unchanged
    return LabelledImage(name, letterbox(image, placement), placed, source, task)
