"""The outputs of a teacher that sees larger images, for the anchors of its student."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from ultralytics.utils.tal import make_anchors

from fgd_yolo.methods import Predictions
from fgd_yolo.methods.box_terms import edge_distances


def coarser(outputs: Predictions, grid: tuple[int, int], factor: int, known: Sequence[int] | None) -> Predictions:
    """Return the outputs of one level on a grid with `factor` times fewer cells per side.

    Convention:
        A cell of the coarse grid covers `factor` x `factor` cells, and takes the outputs of the one with the largest
        class probability. Distances are converted to cells of the coarse grid and start at its anchor, the centre of
        the coarse cell; those of a rotated box are measured along its own sides. They are single distances, since the
        bins of two units cannot be compared.

    Args:
        outputs: for the H * W anchors of the level.
        grid: (H, W), multiples of `factor`.
        factor: cells per side of a coarse cell; 1 returns the outputs unchanged.
        known: numbers of the classes whose probabilities count; None for all.
    """
    if factor == 1:
        return outputs
    H, W = grid
    h, w = H // factor, W // factor
    confidence = (outputs.scores if known is None else outputs.scores[:, list(known)]).amax(dim=1)
    blocks = confidence.view(-1, h, factor, w, factor).transpose(2, 3).flatten(3).flatten(1, 2)  # B, h * w, cells
    best = blocks.argmax(dim=2)
    row, column = best // factor, best % factor  # within the coarse cell
    cell = torch.arange(h * w, device=best.device)
    anchor = (cell // w * factor + row) * W + cell % w * factor + column
    # From the coarse anchor to the chosen one, in coarse cells.
    offset = (torch.stack([column, row], dim=1) + 0.5) / factor - 0.5

    def chosen(values: Tensor) -> Tensor:
        flat = values.flatten(1, -2)
        picked = flat.gather(2, anchor.unsqueeze(1).expand(-1, flat.shape[1], -1))
        return picked.view(*values.shape[:-1], h * w)

    picked = {
        name: chosen(values)
        for name in ("scores", "angles", "keypoints", "visibility", "coefficients")
        if (values := getattr(outputs, name)) is not None
    }
    shift = offset if outputs.angles is None else _turned(offset, picked["angles"])
    boxes = edge_distances(chosen(outputs.boxes.float())) / factor + torch.cat([-shift, shift], dim=1)
    if outputs.keypoints is not None:
        picked["keypoints"] = picked["keypoints"] / factor + offset.unsqueeze(1)
    if outputs.strides is not None:
        empty = [outputs.boxes.new_empty(1, 1, h, w)]
        anchors, strides = make_anchors(empty, [float(outputs.strides[0]) * factor], 0.5)
        picked |= {"anchors": anchors.T, "strides": strides.flatten()}
    return outputs._replace(boxes=boxes, **picked)


def coarser_valid(valid: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Return which cells (h * w,) of the coarse grid cover valid cells (H * W,) alone."""
    H, W = grid
    return valid.view(H // factor, factor, W // factor, factor).transpose(1, 2).flatten(2).all(dim=2).flatten()


def _turned(offset: Tensor, angle: Tensor) -> Tensor:
    """Return offsets (B, 2, A) along the sides of boxes with these angles (B, 1, A)."""
    x, y = offset.unbind(dim=1)
    cos, sin = angle.squeeze(1).cos(), angle.squeeze(1).sin()
    return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=1)


def joined(levels: Sequence[Predictions]) -> Predictions:
    """Return the outputs of several levels of one head as those of all their anchors; the prototypes are shared."""
    values = {
        name: torch.cat([getattr(level, name) for level in levels], dim=-1)
        for name in Predictions._fields
        if name != "prototypes" and getattr(levels[0], name) is not None
    }
    return levels[0]._replace(**values)
