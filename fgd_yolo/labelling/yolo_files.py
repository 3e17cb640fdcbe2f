"""Write labels as the text files that Ultralytics trains on, one for each image, with a data YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path
from fgd_yolo.label_lines import label_line
from fgd_yolo.labelling.image_labels import ImageLabels, LabelledObject
from fgd_yolo.text import listed

DATA_YAML = "data.yaml"
_LARGEST_SIDE = 1.01  # of a label; Ultralytics leaves an image with a larger one out


def write_yolo(labels: Sequence[ImageLabels], folder: Path, names: Mapping[int, str]) -> Path:
    """Write `labels/STEM.txt` for each image, and `data.yaml`, which names `images/` beside them for both splits.

    Convention:
        A line is a class and, as fractions of the image with six decimals: x centre, y centre, width, height of the
        box; for masks the points of the outline; for rotated boxes the four corners; for keypoints the box, then each
        point. An image without objects has an empty file. Rotated boxes may extend beyond the image, as the model
        predicts them; where Ultralytics would refuse the label, the corners are moved to the image.

    Args:
        labels: labels of images, whose names differ in more than their suffix.
        folder: folder to write to; `images` in it is the place of the images, which are not copied.
        names: classes by number from 0.

    Returns:
        The data YAML.

    Raises:
        FGDError: two images would have one label file, or a file cannot be written.
    """
    stems = Counter(image.image.stem for image in labels)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise FGDError(
            f"several images are called {listed(twice)}, so that their label files would be one: rename them"
        )
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for image in labels:
        text = "".join(label_line(entry.class_id, label_values(entry)) for entry in image.objects)
        with atomic_path(folder / "labels" / f"{image.image.stem}.txt") as path:
            path.write_text(text, encoding="utf-8")
    # Without `path`, which would be absolute, the folder can be moved.
    description: dict[str, Any] = {"train": "images", "val": "images", "names": dict(names)}
    shapes = (entry.keypoints.shape for image in labels for entry in image.objects if entry.keypoints is not None)
    if shape := next(shapes, None):
        description["kpt_shape"] = list(shape)
    with atomic_path(folder / DATA_YAML) as path:
        path.write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return folder / DATA_YAML


def label_values(entry: LabelledObject) -> list[float]:
    """Return the numbers after the class in the line of an object."""
    if entry.keypoints is not None:
        return [*entry.box, *entry.keypoints.ravel().tolist()]
    if entry.corners is not None:
        return _accepted(entry.corners).ravel().tolist()
    return list(entry.box) if entry.polygon is None else entry.polygon.ravel().tolist()


def _accepted(corners: np.ndarray) -> np.ndarray:
    """Return corners that Ultralytics accepts: the centre of the upright box within the image, and no larger sides."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre, size = (low + high) / 2, high - low
    inside = (centre >= 0).all() and (centre <= 1).all() and (size <= _LARGEST_SIDE).all()
    return corners if inside else corners.clip(0, 1)
