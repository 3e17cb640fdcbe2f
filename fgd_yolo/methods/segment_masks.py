"""Foreground weights of instance masks: which cells of a feature level the pixels of an object fill."""

from __future__ import annotations

import torch
from torch import Tensor

from fgd_yolo.methods.painting import largest_weights


def mask_foreground(
    masks: Tensor,
    image_index: Tensor,
    batch_size: int,
    grid: tuple[int, int],
    scores: Tensor | None = None,
    *,
    indexed: bool,
) -> Tensor:
    """Spread each object's weight of 1 over the cells that its mask fills; the largest weight wins.

    Convention:
        Masks cover the whole padded input with a resolution of their own. An object fills the cells in which at least
        one of its pixels lies, so a thin or small object does not vanish on a coarse level. A pixel lies in the cell
        that holds its centre; masks coarser than the grid are enlarged first. The weight is 1 / (cells filled on this
        level). An object without a pixel in the masks, covered by others or too small for their resolution, fills none.

    Args:
        masks: if indexed, (B, h, w), in which the value i + 1 marks the i-th object of that image and 0 the background:
            Ultralytics' batches with `overlap_mask=True`, in which smaller objects cover larger ones. Otherwise
            (M, h, w), not 0 inside the object: one mask per object, M may be 0. Any dtype.
        image_index: (M,) integers, the image of the batch that each object belongs to; unused if indexed, unless there
            are scores.
        batch_size: B, images without objects included.
        grid: (H, W) of the level, in cells.
        scores: (M,), weight of each object in the place of 1, such as a detection's score; they are ordered by image.
        indexed: whether a mask holds all objects of an image.

    Returns:
        (B, H, W) float32, 0 outside all objects.

    Raises:
        ValueError: the number of masks is not B if indexed, otherwise not M.

    Source:
        FGD, arXiv:2111.11837, section 3.1, masks M and S, with instance masks in the place of boxes.
    """
    wanted = batch_size if indexed else len(image_index)
    if masks.ndim != 3 or len(masks) != wanted:
        kind = "one per image" if indexed else "one per object"
        raise ValueError(f"masks must be ({wanted}, h, w), {kind}, got {tuple(masks.shape)}")
    H, W = grid
    for dim, cells in ((1, H), (2, W)):
        if masks.shape[dim] < cells:  # else the pixels would leave cells between them empty
            masks = masks.repeat_interleave(-(-cells // masks.shape[dim]), dim=dim)
    mask, row, column = masks.nonzero(as_tuple=True)
    # The cell of the pixel's centre, in integers: (pixel + 1/2) * cells / pixels.
    y = (2 * row + 1) * H // (2 * masks.shape[1])
    x = (2 * column + 1) * W // (2 * masks.shape[2])
    image, instance = image_index.to(mask), mask
    if indexed:
        objects = _objects_per_image(masks, image_index, scores)
        image = torch.repeat_interleave(objects)
        instance = (objects.cumsum(0) - objects)[mask] + masks[mask, row, column].long() - 1
    filled = torch.zeros(len(image), H * W, dtype=torch.bool, device=masks.device)
    filled[instance, y * W + x] = True
    instance, cell = filled.nonzero(as_tuple=True)
    cells = filled.sum(dim=1)
    weight = 1 / cells if scores is None else scores.to(masks.device) / cells
    return largest_weights(image[instance] * H * W + cell, weight[instance], batch_size, grid)


def _objects_per_image(masks: Tensor, image_index: Tensor, scores: Tensor | None) -> Tensor:
    """Return the number of objects of each image, (B,): up to the last that can be seen, or with scores all."""
    if scores is None:
        return masks.flatten(1).amax(dim=1).long()
    return torch.bincount(image_index.long(), minlength=len(masks)).to(masks.device)
