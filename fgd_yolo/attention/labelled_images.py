"""Images letterboxed to the network's input, with the boxes that FGD derives its masks from."""

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
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.media import list_images
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError

LABELS = "labels"
DETECTIONS = "teacher's detections"


class LabelledImage(NamedTuple):
    """An image letterboxed to the network's input, with boxes.

    Args:
        name: file name.
        canvas: (H, W, C) uint8, letterboxed.
        boxes: (M, 4), x centre, y centre, width, height as fractions of the canvas.
        box_source: "labels" or "teacher's detections".
    """

    name: str
    canvas: np.ndarray
    boxes: Tensor
    box_source: str

    @property
    def tensor(self) -> Tensor:
        """The network's input, (1, C, H, W) in [0, 1], RGB for three channels."""
        height, width, channels = self.canvas.shape
        return torch.from_numpy(to_planes(self.canvas, np.empty((1, channels, height, width), np.float32)))


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


def load_letterboxed(path: Path, boxes: Tensor, box_source: str, side_px: int, channels: int = 3) -> LabelledImage:
    """Read an image and letterbox it with its boxes to a square, as in training without augmentation.

    Args:
        path: image file.
        boxes: (M, 4), x centre, y centre, width, height as fractions of the image.
        box_source: source of the boxes, `LABELS` or `DETECTIONS`.
        side_px: side of the square, in pixels.
        channels: number of channels that the models take.

    Raises:
        FGDError: the file cannot be read as an image of these channels.
    """
    try:
        image = load_image(path, channels=channels)
    except (UnreadableImageError, ImageTooLargeError) as error:
        raise FGDError(f"{path} cannot be read as an image{failure_detail(error)}: leave it out") from None
    placement = place(image.shape[:2], (side_px, side_px))
    (height, width), top, left = placement.content, placement.top, placement.left
    size, corner = boxes.new_tensor([width, height]), boxes.new_tensor([left, top])
    moved = torch.cat([boxes[:, :2] * size + corner, boxes[:, 2:] * size], dim=1) / side_px
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a name that is not UTF-8 cannot be drawn unchanged
    return LabelledImage(name, letterbox(image, placement), moved, box_source)


def labelled_boxes(image: Path) -> Tensor | None:
    """Return the boxes (M, 4) of an image's label file at Ultralytics' path for it, or None if there is no such file.

    Convention:
        A line is a class and x centre, y centre, width, height as fractions of the image; or a class and the corners
        of a polygon, which is replaced by its bounding box.

    Raises:
        FGDError: a line has another format.
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
        raise FGDError(f"{where} is not a valid label: expected a class and four numbers, or a class and a polygon")
    x, y = numbers[::2], numbers[1::2]
    return [(min(x) + max(x)) / 2, (min(y) + max(y)) / 2, max(x) - min(x), max(y) - min(y)]


def detected_boxes(outputs: Tensor | tuple, side_px: int) -> Tensor:
    """Return detected boxes (M, 4) on the CPU: x centre, y centre, width, height as fractions of the canvas.

    Args:
        outputs: outputs of a complete detector in eval mode for one image.
        side_px: side of the canvas, in pixels.
    """
    xyxy = non_max_suppression(outputs, DEFAULT_CONFIDENCE, DEFAULT_IOU)[0][:, :4].cpu() / side_px
    return torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], dim=1)
