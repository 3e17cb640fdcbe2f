"""The objects that a teacher's head detects on the images of a batch, from its raw outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import process_mask

from fgd_yolo.labelling.found_objects import VISIBLE_FROM
from fgd_yolo.runtime.nms import DEFAULT_IOU
from fgd_yolo.training.heads.head_outputs import BRANCHES, HeadOutputs

MAX_OBJECTS = 300  # per image, as in Ultralytics
_NO_TIME_LIMIT = 1e6  # seconds per image: Ultralytics' NMS drops what it has not reached


class FrameObjects(NamedTuple):
    """Objects of a batch, ordered by their image, and among those of an image by the area of their masks.

    Args:
        image_index: (N,) integers, image of the batch.
        classes: (N,) integers, class of the data.
        scores: (N,) in [0, 1].
        boxes: (N, 4) x centre, y centre, width, height as fractions of the input, or (N, 5) with an angle in radians.
        keypoints: (N, K, D), x and y as fractions of the input, and for D = 3 their visibility, 2 or 0; None without.
        masks: (N, h, w) booleans on the grid of Ultralytics' labels, largest first within an image; None without.
    """

    image_index: Tensor
    classes: Tensor
    scores: Tensor
    boxes: Tensor
    keypoints: Tensor | None = None
    masks: Tensor | None = None

    def chosen(self, which: Tensor) -> FrameObjects:
        """Return a part of the objects; `which` is (N,) booleans or integers."""
        return FrameObjects(*(value if value is None else value[which] for value in self))


class LabelKind(NamedTuple):
    """What the labels of the student's task hold besides class and box.

    Args:
        mask_size: (h, w) of the masks; None without masks.
        keypoint_shape: (K, D) of the keypoints; None without keypoints.
        rotated: whether boxes have an angle.
    """

    mask_size: tuple[int, int] | None = None
    keypoint_shape: tuple[int, int] | None = None
    rotated: bool = False


def objects_of_frames(
    outputs: HeadOutputs,
    maps: Sequence[Tensor],
    classes: Sequence[int],
    images: Sequence[int],
    size: tuple[int, int],
    min_score: float,
    kind: LabelKind,
) -> FrameObjects:
    """Return the objects that a teacher finds on some images of a batch, as it would outside of a training.

    Convention:
        Of a head with two branches it is the one that the model predicts with. Overlapping boxes are suppressed as in
        Ultralytics' validation, unless the branch needs none of that.

    Args:
        outputs: raw outputs of its head for the whole batch.
        maps: its neck maps for the whole batch.
        classes: classes of the data whose objects are returned.
        images: numbers of the images.
        size: (height, width) of the teacher's images in pixels.
        min_score: lowest score.
        kind: what the student's labels hold.
    """
    rows, prototypes = _decoded(outputs, maps, list(classes), list(images), min_score)
    in_fractions = isinstance(outputs.head, RTDETRDecoder)
    image_index = torch.cat([row.new_full((len(row),), image) for image, row in zip(images, rows, strict=True)]).long()
    found = torch.cat(rows)
    boxes, scores, numbers, extra = found.split([4, 1, 1, found.shape[1] - 6], dim=1)
    masks = None
    if kind.mask_size is not None:
        masks = torch.cat([_masks(row, own, size, kind.mask_size) for row, own in zip(rows, prototypes, strict=True)])
    objects = FrameObjects(
        image_index,
        numbers[:, 0].long(),
        scores[:, 0],
        _fractions(boxes, extra[:, -1:] if kind.rotated else None, (1, 1) if in_fractions else size),
        None if kind.keypoint_shape is None else _keypoints(extra, kind.keypoint_shape, size),
        masks,
    )
    if masks is not None:
        objects = objects.chosen(_largest_first(image_index, masks))
    return objects.chosen((objects.boxes[:, 2:4] > 0).all(dim=1))  # distances without DFL may be negative


def _decoded(
    outputs: HeadOutputs, maps: Sequence[Tensor], classes: list[int], images: list[int], min_score: float
) -> tuple[list[Tensor], list[Any]]:
    """Return rows (n, 6 + extra) of box, score, class and what the task adds for each image, and its prototypes.

    Boxes are corners in pixels (of RT-DETR in fractions), or centre and size where they have an angle.
    """
    head = outputs.head
    if isinstance(head, RTDETRDecoder):
        return _of_decoder(head, [own[images] for own in maps], classes, min_score), [None] * len(images)
    both = outputs.branches
    branch = both[BRANCHES[1]] if head.end2end else both[BRANCHES[0]]
    branch = {**{name: _of_images(value, images) for name, value in branch.items()}, "feats": list(maps)}
    scores = torch.full_like(branch["scores"], -torch.inf)
    scores[:, classes] = branch["scores"][:, classes]
    decoded = head._inference({**branch, "scores": scores})
    rotated = "angle" in branch
    if head.end2end:
        decoded = head.postprocess(decoded.permute(0, 2, 1))
    rows = non_max_suppression(
        decoded,
        min_score,
        DEFAULT_IOU,
        nc=head.nc,
        max_det=MAX_OBJECTS,
        max_time_img=_NO_TIME_LIMIT,
        rotated=rotated,
        end2end=head.end2end,
    )
    prototypes = branch.get("proto", [None] * len(images))
    return rows, list(prototypes)


def _of_images(value: Any, images: list[int]) -> Any:
    """Return the part of a head's output that belongs to some images; YOLO26 may add semantic logits to prototypes."""
    if isinstance(value, list):  # neck maps, of which only the shapes matter
        return value
    return (value[0] if isinstance(value, tuple) else value)[images]


def _of_decoder(head: RTDETRDecoder, maps: list[Tensor], classes: list[int], min_score: float) -> list[Tensor]:
    """Return what RT-DETR's decoder detects, which needs no suppression; corners in fractions of the image."""
    dtype = next(head.parameters()).dtype
    predictions, _ = head([neck_map.to(dtype) for neck_map in maps])
    centre, size, rest = predictions.float().split([2, 2, 2], dim=2)
    rows = torch.cat([centre - size / 2, centre + size / 2, rest], dim=2)
    wanted = (rows[..., 5, None] == rows.new_tensor(classes)).any(dim=2) & (rows[..., 4] > min_score)
    return [row[own] for row, own in zip(rows, wanted, strict=True)]


def _fractions(boxes: Tensor, angles: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Return boxes in pixels as centre and size in fractions of the image; with angles they are centre and size."""
    scale = boxes.new_tensor([size[1], size[0]])
    if angles is not None:
        return torch.cat([boxes[:, :2] / scale, boxes[:, 2:] / scale, angles], dim=1)
    first, last = (boxes[:, :2] / scale).clamp(0, 1), (boxes[:, 2:] / scale).clamp(0, 1)
    return torch.cat([(first + last) / 2, last - first], dim=1)


def _keypoints(extra: Tensor, shape: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return keypoints in fractions of the image; one outside of it, or of low probability, is not labelled."""
    points = extra.unflatten(1, shape).clone()
    points[..., :2] /= points.new_tensor([size[1], size[0]])
    if shape[1] == 3:
        inside = ((points[..., :2] >= 0) & (points[..., :2] <= 1)).all(dim=2)
        points[..., 2] = 2.0 * (inside & (points[..., 2] >= VISIBLE_FROM))
    return points


def _masks(row: Tensor, prototypes: Tensor, size: tuple[int, int], mask_size: tuple[int, int]) -> Tensor:
    """Return the masks of an image's objects on the grid of the labels, (n, h, w) booleans."""
    if not len(row):
        return torch.zeros((0, *mask_size), dtype=torch.bool, device=row.device)
    masks = process_mask(prototypes, row[:, 6:], row[:, :4].clone(), size)
    if masks.shape[1:] != torch.Size(mask_size):
        masks = F.interpolate(masks[None].float(), mask_size, mode="bilinear")[0] > 0.5
    return masks.bool()


def _largest_first(image_index: Tensor, masks: Tensor) -> Tensor:
    """Return the order by image and then by area, largest first, so that later objects cover earlier ones."""
    order = masks.flatten(1).sum(dim=1).argsort(descending=True, stable=True)
    return order[image_index[order].argsort(stable=True)]


def label_kind(head: nn.Module, mask_size: tuple[int, int] | None) -> LabelKind:
    """Return what the labels of a student hold, by its head.

    Args:
        head: head of the student.
        mask_size: (h, w) of the masks of its labels; None without masks.
    """
    return LabelKind(
        mask_size=mask_size,
        keypoint_shape=tuple(head.kpt_shape) if hasattr(head, "kpt_shape") else None,
        rotated=hasattr(head, "ne"),
    )
