"""The train images of a run with unlabelled frames: labelled images and frames, each with an augmentation of its own.

Two data sets of Ultralytics are joined, so that its mosaic and mixup never put a frame beside a labelled image: an
object on a frame is not labelled, and is not background.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from ultralytics.data import YOLODataset
from ultralytics.data.base import BaseDataset
from ultralytics.utils import LOGGER, colorstr

UNLABELED = "unlabeled"
"""Key of a batch: for each image, whether it is an unlabelled frame."""


class MixedDataset(Dataset):
    """Labelled images and unlabelled frames as one data set for Ultralytics' trainer.

    Convention:
        An epoch has as many images as both together. `ratio` of them are frames. A part with fewer images than its
        share is repeated; of one with more, each epoch shows a random choice that is spread over all of it. With
        `rect` each image is shown once, since the shape of a batch belongs to its images.

    Args:
        labelled: Ultralytics' data set of the labelled images; None to train on frames alone.
        frames: Ultralytics' data set of the frames, built in `unlabeled_images.without_labels`.
        ratio: share of the frames, between 0 and 1.
        rect: whether the images of a batch have one shape of their own; both data sets are built without.
        hyp: Ultralytics' arguments, with the augmentation.
    """

    def __init__(
        self, labelled: YOLODataset | None, frames: YOLODataset, *, ratio: float, rect: bool = False, hyp: Any = None
    ):
        self.parts = [part for part in (labelled, frames) if part is not None]
        self.frames, self.rect = frames, rect
        self.collate_fn: Callable[[list[dict]], dict] = frames.collate_fn
        if rect:
            self._entries = self._in_rectangles(hyp)
            self._length = len(self._entries)
            return
        self._length = sum(map(len, self.parts))
        frame_slots = min(max(round(ratio * self._length), 1), self._length - 1) if labelled else self._length
        self._slots = [self._length - frame_slots, frame_slots] if labelled else [frame_slots]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, image = self._entries[index] if self.rect else self._choose(index)
        return {**part[image], UNLABELED: part is self.frames}

    def _choose(self, index: int) -> tuple[YOLODataset, int]:
        for part, slots in zip(self.parts, self._slots, strict=True):
            if index < slots:
                return part, _image_of_slot(index, slots, len(part))
            index -= slots
        raise IndexError(index)

    @property
    def labels(self) -> list[dict[str, Any]]:
        """Labels of all images, of the frames without objects."""
        return [label for part in self.parts for label in part.labels]

    @property
    def batch_shapes(self) -> np.ndarray:
        """With `rect`, (height, width) of each batch."""
        return self.parts[0].batch_shapes

    @batch_shapes.setter
    def batch_shapes(self, shapes: np.ndarray) -> None:
        for part in self.parts:
            part.batch_shapes = shapes

    def close_mosaic(self, hyp: Any) -> None:
        """Switch off the augmentations that join images, as Ultralytics does for the last epochs."""
        for part in self.parts:
            part.close_mosaic(copy(hyp))

    def _in_rectangles(self, hyp: Any) -> list[tuple[YOLODataset, int]]:
        """Order all images by their aspect ratio, as Ultralytics does with one data set, and share the batch shapes."""
        entries = [(part, image) for part in self.parts for image in range(len(part))]
        first = self.parts[0]
        together = SimpleNamespace(
            ni=len(entries),
            batch_size=first.batch_size,
            imgsz=first.imgsz,
            stride=first.stride,
            pad=first.pad,
            im_files=[part.im_files[image] for part, image in entries],
            labels=[{"shape": part.labels[image]["shape"], "entry": (part, image)} for part, image in entries],
        )
        BaseDataset.set_rectangle(together)
        ordered = [label["entry"] for label in together.labels]
        for part in self.parts:
            part.rect, part.batch_shapes = True, together.batch_shapes
            part.batch = np.zeros(len(part), int)
            part.transforms = part.build_transforms(copy(hyp))  # without mosaic now
        for (part, image), batch in zip(ordered, together.batch, strict=True):
            part.batch[image] = batch
        return ordered


def _image_of_slot(slot: int, slots: int, images: int) -> int:
    """Return the image that a slot shows: one of those that the slots share out in turn."""
    return slot % images if slots >= images else random.choice(range(slot, images, slots))


def log_mixture(labelled: Sequence | None, frames: Sequence, ratio: float, rect: bool) -> None:
    """Log of how many images an epoch consists, and how many of them are frames."""
    counts = f"{len(frames)} unlabelled frames"
    if labelled is None:
        LOGGER.info(f"{colorstr('FGD:')} {counts}, no labelled image")
        return
    share = "each once an epoch (rect)" if rect else f"{ratio:.0%} of the images of an epoch are frames"
    LOGGER.info(f"{colorstr('FGD:')} {len(labelled)} labelled images and {counts}, {share}")
