"""Foreground weights of rotated boxes: which cells of a feature level a rotated box fills."""

from __future__ import annotations

import torch
from torch import Tensor

from fgd_yolo.methods.alignment import at_least_float32
from fgd_yolo.methods.painting import largest_weights, rectangle_cells

MIN_REACH = 1e-3  # cells; a box that ends on a cell border does not fill the next cell through rounding


def rotated_foreground(
    boxes: Tensor, image_index: Tensor, batch_size: int, grid: tuple[int, int], scores: Tensor | None = None
) -> Tensor:
    """Spread each rotated box's weight of 1 over the cells it fills; the largest weight wins.

    Convention:
        Boxes are x centre, y centre, width, height, angle, as in Ultralytics' batches: x centre and width are
        fractions of the input's width, y centre and height of its height, whatever the angle; the angle is in radians
        in pixels, from the x axis towards the y axis (clockwise in the picture). So the sides become pixels before
        the box is rotated. Cells are square, as the sides of an input are multiples of the stride: pixels and cells
        differ by one factor.
        A box fills the cells that it shares area with, by more than a thousandth of a cell in every direction, and the
        cell that holds its centre; an object smaller than a cell fills at least one. Its weight is 1 / (cells filled),
        counted before the box is clipped to the map, as for upright boxes.

    Args:
        boxes: (M, 5), the boxes of all images; M may be 0.
        image_index: (M,) integers, the image of the batch that each box belongs to.
        batch_size: B, images without boxes included.
        grid: (H, W) of the level, in cells.
        scores: (M,), weight of each box in the place of 1, such as the score of a detection.

    Returns:
        (B, H, W), at least float32, 0 outside all boxes.

    Raises:
        ValueError: boxes is not (M, 5) or image_index is not (M,).

    Source:
        FGD, arXiv:2111.11837, section 3.1, masks M and S, with rotated boxes in the place of upright ones.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5 or image_index.shape != boxes.shape[:1]:
        shapes = f"{tuple(boxes.shape)} and {tuple(image_index.shape)}"
        raise ValueError(f"rotated boxes must be (M, 5) and image_index (M,), got {shapes}")
    H, W = grid
    boxes = at_least_float32(boxes)
    size = boxes.new_tensor([W, H])
    centre, half = boxes[:, :2] * size, boxes[:, 2:4] * size / 2
    cos, sin = boxes[:, 4].cos(), boxes[:, 4].sin()
    axes = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)  # box, axis, (x, y)
    reach = (axes.abs() * half[:, :, None]).sum(dim=1)  # half of the upright rectangle around the box

    first, last = (centre - reach).floor().long(), (centre + reach).floor().long()
    box, x, y = rectangle_cells(first, last)
    offset = torch.stack([x, y], dim=1) + 0.5 - centre[box]
    # Two rectangles share area unless a side of one of them separates them: here the cell's sides, then the box's.
    apart_upright = offset.abs() - reach[box] - 0.5
    apart_rotated = (axes[box] * offset[:, None]).sum(dim=2).abs() - half[box] - axes[box].abs().sum(dim=2) / 2
    shares_area = (torch.maximum(apart_upright, apart_rotated) < -MIN_REACH).all(dim=1)
    holds_centre = (torch.stack([x, y], dim=1) == centre[box].floor().long()).all(dim=1)
    filled = shares_area | holds_centre
    cells = torch.zeros_like(centre[:, 0]).index_add_(0, box, filled.to(centre))

    inside = filled & (x >= 0) & (x < W) & (y >= 0) & (y < H)
    box, x, y = box[inside], x[inside], y[inside]
    cell = (image_index.to(box)[box] * H + y) * W + x
    weight = 1 / cells if scores is None else scores.to(cells) / cells
    return largest_weights(cell, weight[box], batch_size, grid)
