"""Foreground and background weights: which cells of a feature level lie inside boxes, and how much each counts."""

from __future__ import annotations

import torch
from torch import Tensor

from fgd_yolo.methods.painting import largest_weights, rectangle_cells


def foreground_weights(
    boxes: Tensor, image_index: Tensor, batch_size: int, grid: tuple[int, int], scores: Tensor | None = None
) -> Tensor:
    """Spread each box's weight of 1 over the cells it fills.

    Small and large objects then count equally. A cell inside several boxes keeps the largest weight, so a small object
    is not lost inside a large one.

    Convention:
        Boxes are x centre, y centre, width, height as fractions of the padded network input, not of the
        original image.
        A box fills the cells floor(first edge) to ceil(last edge), both included: one that ends exactly on a
        cell border fills the next cell too, and an object smaller than a cell fills 2 x 2 of them or more.
        Its weight is 1 / (cells filled), counted before the box is clipped to the map: a box that touches the
        right or lower border counts one column or row outside, and its weights sum to less than 1.

    Args:
        boxes: (M, 4), the boxes of all images; M may be 0.
        image_index: (M,) integers, the image of the batch that each box belongs to.
        batch_size: B, images without boxes included.
        grid: (H, W) of the level, in cells.
        scores: (M,), weight of each box in the place of 1, such as the score of a detection.

    Returns:
        (B, H, W) in the dtype of the boxes, 0 outside all boxes.

    Raises:
        ValueError: boxes is not (M, 4) or image_index is not (M,).

    Source:
        FGD, arXiv:2111.11837, section 3.1, masks M and S. The included last cell is from the authors' code.

    Examples:
        >>> weights = foreground_weights(torch.tensor([[0.25, 0.5, 0.5, 0.25]]), torch.tensor([0]), 1, (8, 8))
        >>> [int((weights > 0).sum()), round(float(weights.sum()), 4)]
        [15, 1.0]
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or image_index.shape != boxes.shape[:1]:
        shapes = f"{tuple(boxes.shape)} and {tuple(image_index.shape)}"
        raise ValueError(f"boxes must be (M, 4) and image_index (M,), got {shapes}")
    H, W = grid
    size = boxes.new_tensor([W, H])
    centre, extent = boxes[:, :2], boxes[:, 2:]
    first = ((centre - extent / 2) * size).floor()
    last = ((centre + extent / 2) * size).ceil()
    weight = (1 if scores is None else scores) / (last - first + 1).prod(dim=1)

    first = first.clamp(min=0).long()
    last = torch.minimum(last, size - 1).long()
    box, x, y = rectangle_cells(first, last)
    cell = (image_index.long()[box] * H + y) * W + x
    return largest_weights(cell, weight[box], batch_size, grid)


def background_weights(foreground: Tensor) -> Tensor:
    """Share a weight of 1 among the cells of an image that no object fills.

    Args:
        foreground: (B, H, W), weights of the objects' cells; 0 outside all objects.

    Returns:
        (B, H, W). 1 / (cells without an object) on those cells and 0 elsewhere, so an image without objects holds
        1 / (H * W) everywhere and an image that objects cover completely holds 0.

    Source:
        FGD, arXiv:2111.11837, section 3.1, mask S outside the boxes.
    """
    empty = (foreground == 0).to(foreground.dtype)
    return empty / empty.sum(dim=(1, 2), keepdim=True).clamp(min=1)
