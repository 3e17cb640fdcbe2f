"""The objects of one image: from its label file or from a model's outputs, and the foreground that training paints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from ultralytics.data.utils import img2label_paths, polygons2masks_overlap
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import masks2segments, process_mask, xywhr2xyxyxyxy, xyxyxyxy2xywhr

from fgd_yolo.errors import FGDError
from fgd_yolo.methods.box_masks import foreground_weights
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE, DEFAULT_IOU
from fgd_yolo.task_table import RTDETR, YoloTask


class ImageObjects(NamedTuple):
    """The objects of an image, as fractions of its width and height.

    Args:
        boxes: (M, 4), x centre, y centre, width, height.
        outlines: (N, 2) corners x, y of each object, for a task whose foreground is not made of boxes: of its mask or
            of its rotated box. None for boxes.
    """

    boxes: Tensor
    outlines: list[Tensor] | None = None

    @classmethod
    def of_outlines(cls, outlines: Sequence[Tensor]) -> ImageObjects:
        """Return objects with these outlines; their boxes are the upright ones around them."""
        low, high = (torch.stack([*(edge(outline, dim=0) for outline in outlines)]) if outlines else torch.zeros(0, 2)
                     for edge in (torch.amin, torch.amax))  # fmt: skip
        return cls(torch.cat([(low + high) / 2, high - low], dim=1), list(outlines))

    def placed(self, size: Tensor, corner: Tensor, side: float) -> ImageObjects:
        """Return the objects as fractions of a square canvas on which the image has a size and an upper left corner.

        Args:
            size: width and height of the image, in pixels of the canvas.
            corner: x and y of its upper left corner.
            side: side of the canvas.
        """
        boxes = torch.cat([self.boxes[:, :2] * size + corner, self.boxes[:, 2:] * size], dim=1) / side
        outlines = self.outlines and [(outline * size + corner) / side for outline in self.outlines]
        return ImageObjects(boxes, outlines)

    def corners(self) -> list[Tensor]:
        """Return the corners (N, 2) of what is drawn of each object: its outline or its box."""
        if self.outlines is not None:
            return self.outlines
        signs = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
        return list(self.boxes[:, None, :2] + signs * self.boxes[:, None, 2:])

    def foreground(self, task: YoloTask, grid: tuple[int, int], size_px: tuple[int, int]) -> Tensor:
        """Paint the objects as the training of a student of this task does.

        Args:
            task: task of the student.
            grid: (H, W) of the level, in cells.
            size_px: height and width of the canvas.

        Returns:
            (1, H, W) weights.
        """
        image_index = torch.zeros(len(self.boxes), dtype=torch.long)
        if not self.outlines or task.foreground is None:
            return foreground_weights(self.boxes, image_index, 1, grid)
        batch = {"img": torch.zeros(1), "batch_idx": image_index}
        return task.foreground({**batch, **_BATCH_LABELS[task.name](self.outlines, size_px)}, grid, DEFAULT_CFG)


def _rotated_boxes(outlines: Sequence[Tensor], size_px: tuple[int, int]) -> dict[str, Tensor]:
    height, width = size_px
    scale = torch.tensor([width, height], dtype=torch.float32)
    quadrilaterals = [(outline * scale).numpy() for outline in outlines]
    boxes = torch.from_numpy(np.stack([xyxyxyxy2xywhr(corners.reshape(1, -1))[0] for corners in quadrilaterals]))
    return {"bboxes": torch.cat([boxes[:, :2] / scale, boxes[:, 2:4] / scale, boxes[:, 4:]], dim=1).float()}


def _masks(outlines: Sequence[Tensor], size_px: tuple[int, int]) -> dict[str, Tensor]:
    polygons = [(outline * torch.tensor(size_px[::-1])).reshape(-1).numpy() for outline in outlines]
    masks, _ = polygons2masks_overlap(size_px, polygons, downsample_ratio=DEFAULT_CFG.mask_ratio)
    return {"masks": torch.from_numpy(masks)[None]}


_BATCH_LABELS: dict[str, Callable[[Sequence[Tensor], tuple[int, int]], dict[str, Tensor]]] = {
    "segment": _masks,
    "obb": _rotated_boxes,
}
"""What a task's foreground is painted from, as in Ultralytics' batches, made from outlines."""


def read_labels(image: Path, task: YoloTask) -> ImageObjects | None:
    """Return the objects of an image's label file at Ultralytics' path for it, or None if there is no such file.

    Convention:
        A line is a class and x centre, y centre, width, height as fractions of the image; or a class and the corners
        of a polygon. For a task whose foreground is made of boxes, a polygon is replaced by the box around it. The
        keypoints of a pose label, after its box, are not read.

    Raises:
        FGDError: a line has another format.
    """
    path = Path(img2label_paths([str(image.absolute())])[0])
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    words = {f"{path}, line {n}": line.split()[1:] for n, line in enumerate(lines, start=1) if line.strip()}
    values = 4 if task.name == "pose" else None
    numbers = [_numbers(line[:values], where) for where, line in words.items()]
    outlined = ImageObjects.of_outlines([_outline(row) for row in numbers])
    return outlined if task.foreground else ImageObjects(outlined.boxes)


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) == 4 or (len(numbers) >= 6 and len(numbers) % 2 == 0):
        return numbers
    raise FGDError(f"{where} is not a valid label: expected a class and four numbers, or a class and a polygon")


def _outline(numbers: list[float]) -> Tensor:
    """Return the corners (N, 2) of a polygon, or of a box."""
    values = torch.tensor(numbers, dtype=torch.float32)
    return ImageObjects(values[None]).corners()[0] if len(numbers) == 4 else values.view(-1, 2)


def detected_objects(
    outputs: Any, task: YoloTask, class_count: int, side_px: int, end2end: bool = False
) -> ImageObjects:
    """Return detected objects, on the CPU, as fractions of the canvas.

    Args:
        outputs: outputs of a model in eval mode for one image.
        task: its task.
        class_count: number of its classes.
        side_px: side of the canvas, in pixels.
        end2end: whether the outputs are those of a head that needs no NMS.
    """
    raw = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    if task is RTDETR:
        rows = raw[0].cpu()
        return ImageObjects(rows[rows[:, 4] > DEFAULT_CONFIDENCE, :4])
    raw, prototypes = raw if isinstance(raw, (tuple, list)) else (raw, None)
    rotated = task.name == "obb"
    settings = {"nc": class_count, "rotated": rotated, "end2end": end2end}
    (rows,) = non_max_suppression(raw, DEFAULT_CONFIDENCE, DEFAULT_IOU, **settings)
    if prototypes is not None:
        masks = process_mask(prototypes[0], rows[:, 6:], rows[:, :4], (side_px, side_px), upsample=True)
        polygons = [torch.from_numpy(polygon) for polygon in masks2segments(masks)] if len(rows) else []
        return ImageObjects.of_outlines([polygon / side_px for polygon in polygons if len(polygon)])
    if rotated:
        corners = xywhr2xyxyxyxy(torch.cat([rows[:, :4], rows[:, 6:7]], dim=1)).cpu()
        return ImageObjects.of_outlines(list(corners / side_px))
    xyxy = rows[:, :4].cpu() / side_px
    return ImageObjects(torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], dim=1))
