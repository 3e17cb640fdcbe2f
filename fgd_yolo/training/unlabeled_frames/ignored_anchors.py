"""Leave anchors, and pixels, out of the class terms of Ultralytics' loss, where a frame may show an object that nobody
has labelled.

The one place in which the distillation changes the student's own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgd_yolo.training.heads.assignments import branch_losses

_BOXES_AT_ONCE = 32  # of which the distances to all anchors are in memory
_NO_OBJECT = -30.0  # logit whose loss and gradient as a background are 0 in float32


class IgnoredRegions(NamedTuple):
    """Where the class term of a batch does not count.

    Args:
        boxes: (N, 4 or 5), centre, size and perhaps an angle of objects that are uncertain, as fractions of the image.
        image_index: (N,) integers, image of the batch.
        frames: numbers of the images that are unlabelled frames.
        unknown: classes that no teacher knows, so that a frame says nothing about them.
    """

    boxes: Tensor
    image_index: Tensor
    frames: Sequence[int]
    unknown: Sequence[int]


@contextmanager
def ignoring(criterion: Any, regions: IgnoredRegions, anchors: Tensor, size: tuple[int, int]) -> Iterator[None]:
    """Let the class term of a criterion leave out anchors in some regions during a block.

    Convention:
        An anchor inside an uncertain box counts only if it is assigned to another box; a pixel there, in the semantic
        term of YOLO26's segment models, only if it shows another object. The scores of classes that no teacher knows do
        not count on a frame. RT-DETR has queries in the place of anchors: those whose box has its
        centre inside count only if they are matched.

    Args:
        criterion: Ultralytics' criterion of the student.
        regions: where the term does not count.
        anchors: (A, 2), x and y of the anchors as fractions of the image; unused for RT-DETR.
        size: (height, width) of the images in pixels.
    """
    with ExitStack() as changed:
        ignored = _inside(anchors.expand(_batch_size(regions), -1, -1), regions, size)
        for part in branch_losses(criterion).values():
            if hasattr(part, "bcedice_loss"):
                changed.enter_context(patch.object(part, "bcedice_loss", _PixelTerm(part.bcedice_loss, regions, size)))
            if hasattr(part, "bce"):
                changed.enter_context(patch.object(part, "bce", _AnchorTerm(part.bce, ignored, regions)))
            else:
                _ignore_queries(part, regions, size, changed)
        yield


def _batch_size(regions: IgnoredRegions) -> int:
    """Return a number of images that covers all that regions name."""
    last = int(regions.image_index.max()) if len(regions.image_index) else -1
    return max([last, *regions.frames]) + 1


class _AnchorTerm(nn.Module):
    """Binary cross-entropy of class scores (B, A, classes), 0 where it does not count."""

    def __init__(self, bce: Callable[[Tensor, Tensor], Tensor], ignored: Tensor, regions: IgnoredRegions):
        super().__init__()
        self._bce, self._ignored, self._regions = bce, ignored, regions

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        counts = torch.ones_like(scores)
        background = targets.amax(dim=2) == 0
        images = len(self._ignored)
        counts[:images][self._ignored & background[:images]] = 0
        _forget(counts, self._regions, 0)
        return self._bce(scores, targets) * counts


class _PixelTerm(nn.Module):
    """Term of the class scores of pixels (B, classes, H, W), 0 where it does not count."""

    def __init__(self, term: Callable[[Tensor, Tensor], Tensor], regions: IgnoredRegions, size: tuple[int, int]):
        super().__init__()
        self._term, self._regions, self._size = term, regions, size

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        height, width = scores.shape[-2:]
        rows, columns = (torch.arange(side, device=scores.device).add(0.5) / side for side in (height, width))
        pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=2).flatten(0, 1)
        inside = _inside(pixels.expand(len(scores), -1, -1), self._regions, self._size).view(-1, 1, height, width)
        shown = functional.interpolate(targets, (height, width), mode="nearest")
        hidden = (inside & (shown.amax(dim=1, keepdim=True) == 0)).expand_as(scores).clone()
        _forget(hidden.flatten(2).transpose(1, 2), self._regions, True)
        return self._term(scores.masked_fill(hidden, _NO_OBJECT), targets)


def _forget(values: Tensor, regions: IgnoredRegions, value: float) -> None:
    """Set the columns of unknown classes of the frames, in place; values are (B, anchors, classes)."""
    if regions.unknown:
        frames = torch.tensor(regions.frames, device=values.device)[:, None]
        values.transpose(1, 2)[frames, torch.tensor(regions.unknown, device=values.device)] = value


def _ignore_queries(criterion: nn.Module, regions: IgnoredRegions, size: tuple[int, int], changed: ExitStack) -> None:
    """Let RT-DETR's criterion see no object in queries that do not count: its class term is a sum without weights."""
    of_layer, of_classes, current = criterion._get_loss, criterion._get_loss_class, {}

    def layer(pred_bboxes: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        current["inside"] = _inside(pred_bboxes.detach()[..., :2], regions, size)
        return of_layer(pred_bboxes, *args, **kwargs)

    def classes(scores: Tensor, targets: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        hidden = (current["inside"] & (targets == criterion.nc))[..., None].expand_as(scores).clone()
        _forget(hidden, regions, True)
        return of_classes(scores.masked_fill(hidden, _NO_OBJECT), targets, *args, **kwargs)

    changed.enter_context(patch.object(criterion, "_get_loss", layer))
    changed.enter_context(patch.object(criterion, "_get_loss_class", classes))


def _inside(points: Tensor, regions: IgnoredRegions, size: tuple[int, int]) -> Tensor:
    """Return which points (B, A, 2), fractions of the image, lie in a region of their image: (B, A) booleans."""
    counted = torch.zeros(points.shape[:2], device=points.device)
    pixels = points.new_tensor([size[1], size[0]])
    parts = regions.boxes.split(_BOXES_AT_ONCE), regions.image_index.split(_BOXES_AT_ONCE)
    for boxes, images in zip(*parts, strict=True):
        offset = (points[images] - boxes[:, None, :2]) * pixels
        if boxes.shape[1] == 5:
            cos, sin = boxes[:, 4:].cos(), boxes[:, 4:].sin()
            x, y = offset.unbind(dim=2)
            offset = torch.stack([x * cos + y * sin, y * cos - x * sin], dim=2)
        inside = (offset.abs() <= boxes[:, None, 2:4] * pixels / 2).all(dim=2)
        counted.index_add_(0, images, inside.float())
    return counted > 0
