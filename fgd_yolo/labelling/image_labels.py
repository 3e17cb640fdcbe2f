"""The labels of one image, as a model has found them, and the numbers of the labels of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """An object that a model has found.

    Convention:
        Coordinates are fractions of the image: x to the right, y down, (0, 0) is the upper left corner. The box is
        the upright one, within the image.

    Args:
        class_id: number of its class.
        score: confidence of the model, in [0, 1].
        box: x centre, y centre, width, height.
        polygon: (N, 2) outline of its mask, at least three points within the image; None for other tasks.
        keypoints: (K, 3) x, y and visibility, all 0 for a point that is outside the image or that the model does not
            see, and 2 for the others; or (K, 2) within the image, for a model without visibility. None for other tasks.
        corners: (4, 2) corners of its rotated box, in order around it; they may be outside the image. None for other
            tasks.
    """

    class_id: int
    score: float
    box: tuple[float, float, float, float]
    polygon: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    corners: np.ndarray | None = None

    @property
    def outline(self) -> np.ndarray | None:
        """The polygon or the corners (N, 2), if the object has them."""
        return self.polygon if self.polygon is not None else self.corners

    @property
    def xyxy(self) -> np.ndarray:
        """Left, top, right and bottom edge of the box, (4,) fractions."""
        centre, size = np.array(self.box[:2]), np.array(self.box[2:])
        return np.concatenate([centre - size / 2, centre + size / 2])


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """The objects that a model has found on an image, by falling score.

    Args:
        image: file of the image.
        height: height of the image, upright as Ultralytics reads it, in pixels.
        width: its width.
        objects: the objects.
    """

    image: Path
    height: int
    width: int
    objects: tuple[LabelledObject, ...]


class LabelNumbers(NamedTuple):
    """What a model has found on images.

    Args:
        images: number of images.
        with_objects: number of images with at least one object.
        objects: number of objects by class, for the classes that were found.
        scores: lowest score, quartiles and highest score of the objects; empty if there is none.
    """

    images: int
    with_objects: int
    objects: dict[int, int]
    scores: tuple[float, ...]

    def text(self, names: Mapping[int, str]) -> str:
        """Return the numbers as one line, such as `objects on 12 of 40 images: 20 car, 3 person; median score 0.71`."""
        found = sorted(self.objects.items(), key=lambda entry: -entry[1])
        counts = ", ".join(f"{count} {names[number]}" for number, count in found) or "none"
        median = f"; median score {self.scores[len(QUANTILES) // 2]:.2f}" if self.scores else ""
        return f"objects on {self.with_objects} of {self.images} images: {counts}{median}"


def label_numbers(labels: Sequence[ImageLabels], above: float = 0.0) -> LabelNumbers:
    """Return the numbers of the objects with a score from a threshold on.

    Args:
        labels: labels of the images.
        above: objects with a lower score are not counted.
    """
    found = [[entry for entry in image.objects if entry.score >= above] for image in labels]
    scores = [entry.score for objects in found for entry in objects]
    return LabelNumbers(
        images=len(found),
        with_objects=sum(map(bool, found)),
        objects=dict(sorted(Counter(entry.class_id for objects in found for entry in objects).items())),
        scores=tuple(np.quantile(scores, QUANTILES).tolist()) if scores else (),
    )
