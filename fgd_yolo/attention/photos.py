"""The photos that are looked at: on the network's canvas, with the boxes that FGD would weigh them by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from ultralytics.data.utils import img2label_paths
from ultralytics.utils.nms import non_max_suppression

from fgd_yolo.datasets import split_images
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.preprocessing import letterbox, place, to_planes
from fgd_yolo.runtime.images import list_images, read_image

LABELS = "labels"
DETECTIONS = "teacher's detections"
_LEAST_SCORE, _MOST_OVERLAP = 0.25, 0.7  # the host's own defaults for predictions


class Photo(NamedTuple):
    """A photo as the network gets it.

    Args:
        name: of the file.
        canvas: (H, W, 3) BGR uint8, letterboxed.
        boxes: (M, 4), x centre, y centre, width, height as fractions of the canvas.
        boxes_from: "labels" or "teacher's detections".
    """

    name: str
    canvas: np.ndarray
    boxes: Tensor
    boxes_from: str

    @property
    def tensor(self) -> Tensor:
        """The network's input, (1, 3, H, W) RGB in [0, 1]."""
        height, width = self.canvas.shape[:2]
        return torch.from_numpy(to_planes(self.canvas, np.empty((1, 3, height, width), np.float32)))


def find_images(sources: list[str]) -> list[Path]:
    """Return the pictures that the user names: files, folders, patterns, or a dataset YAML for its val images.

    Raises:
        UsageError: there is none, or a dataset beside other sources.
        FGDError: a dataset that is not on this disk.
    """
    datasets = [source for source in sources if Path(source).suffix in {".yaml", ".yml"}]
    if not datasets:
        return list(dict.fromkeys(path for source in sources for path in list_images(source)))
    if len(sources) > 1:
        raise UsageError(f"--source {datasets[0]} is a dataset: give it alone, or pictures instead")
    return split_images(datasets[0], "val", "to look at")


def letterboxed(path: Path, boxes: Tensor, boxes_from: str, side_px: int) -> Photo:
    """Place a photo, and its boxes, on a square canvas as in training without augmentation.

    Args:
        path: of the photo.
        boxes: (M, 4), x centre, y centre, width, height as fractions of the photo.
        boxes_from: who says so.
        side_px: of the canvas.

    Raises:
        FGDError: the file cannot be read as a picture.
    """
    image = read_image(path)
    if image is None:
        raise FGDError(f"{path} cannot be read as a picture: leave it out")
    placement = place(image.shape[:2], (side_px, side_px))
    (height, width), top, left = placement.content, placement.top, placement.left
    size, corner = boxes.new_tensor([width, height]), boxes.new_tensor([left, top])
    moved = torch.cat([boxes[:, :2] * size + corner, boxes[:, 2:] * size], dim=1) / side_px
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a name that is no UTF-8 cannot be drawn as it is
    return Photo(name, letterbox(image, placement), moved, boxes_from)


def labelled_boxes(image: Path) -> Tensor | None:
    """Return the boxes (M, 4) of an image's label file where the host looks for it, or None where there is none.

    Convention:
        A line is a class and x centre, y centre, width, height as fractions of the photo; or a class and the corners
        of a polygon, of which the box around it is taken.

    Raises:
        FGDError: a line is neither.
    """
    path = Path(img2label_paths([str(image.absolute())])[0])
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [_box(line.split()[1:], f"{path}, line {n}") for n, line in enumerate(lines, start=1) if line.strip()]
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def _box(words: list[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) == 4:
        return numbers
    if len(numbers) < 6 or len(numbers) % 2:
        raise FGDError(f"{where} is no label: it must be a class and four numbers, or a class and a polygon")
    x, y = numbers[::2], numbers[1::2]
    return [(min(x) + max(x)) / 2, (min(y) + max(y)) / 2, max(x) - min(x), max(y) - min(y)]


def detected_boxes(outputs: Tensor | tuple, side_px: int) -> Tensor:
    """Return a detector's boxes (M, 4), on the CPU, as fractions of the canvas: x centre, y centre, width, height.

    Args:
        outputs: of the whole detector in eval mode for one image.
        side_px: of the canvas.
    """
    found = non_max_suppression(outputs, _LEAST_SCORE, _MOST_OVERLAP)[0][:, :4].cpu() / side_px
    return torch.cat([(found[:, :2] + found[:, 2:]) / 2, found[:, 2:] - found[:, :2]], dim=1)
