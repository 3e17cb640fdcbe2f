"""Write labels as a COCO file, with scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgd_yolo.files import atomic_path
from fgd_yolo.label_lines import HIDDEN, VISIBLE
from fgd_yolo.labelling.image_labels import ImageLabels, LabelledObject
from fgd_yolo.strict_json import to_json

_DECIMALS = 3  # of a pixel


def write_coco(
    labels: Sequence[ImageLabels],
    file: Path,
    names: Mapping[int, str],
    file_name: Callable[[Path], str] = lambda image: image.name,
) -> None:
    """Write labels as one COCO file: `images`, `annotations` and `categories`.

    Convention:
        Ids of images, annotations and categories count from 1: the category of class 0 is 1. Boxes are left, top,
        width, height in pixels. `segmentation` is the outline of a mask or the corners of a rotated box, or empty.
        `keypoints` are x, y, visibility. `score` is the confidence of the model, which plain COCO readers ignore.

    Args:
        labels: labels of images.
        file: file to write.
        names: classes by number from 0.
        file_name: name of an image in the file.

    Raises:
        FGDError: the file cannot be written.
    """
    images, annotations = [], []
    for number, image in enumerate(labels, start=1):
        size = {"width": image.width, "height": image.height}
        images.append({"id": number, "file_name": file_name(image.image), **size})
        for entry in image.objects:
            place = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(place | _annotation(entry, image.width, image.height))
    points = max(
        (len(entry.keypoints) for image in labels for entry in image.objects if entry.keypoints is not None), default=0
    )
    own = {"keypoints": [f"point {number}" for number in range(1, points + 1)], "skeleton": []} if points else {}
    categories = [{"id": number + 1, "name": name, **own} for number, name in sorted(names.items())]
    content = {"images": images, "annotations": annotations, "categories": categories}
    with atomic_path(file) as path:
        path.write_text(to_json(content) + "\n", encoding="utf-8")


def _annotation(entry: LabelledObject, width: int, height: int) -> dict[str, Any]:
    size = np.array([width, height])
    left, top, right, bottom = entry.xyxy * [*size, *size]
    outline = None if entry.outline is None else entry.outline * size
    area = (right - left) * (bottom - top) if outline is None else _area(outline)
    annotation: dict[str, Any] = {
        "category_id": entry.class_id + 1,
        "bbox": _rounded([left, top, right - left, bottom - top]),
        "area": _rounded([area])[0],
        "iscrowd": 0,
        "score": round(entry.score, 4),
        "segmentation": [] if outline is None else [_rounded(outline.ravel())],
    }
    if entry.keypoints is not None:
        seen = [VISIBLE] * len(entry.keypoints)
        if entry.keypoints.shape[1] == 3:
            seen = entry.keypoints[:, 2].astype(int).tolist()
        points = zip(entry.keypoints[:, :2] * size, seen, strict=True)
        annotation["keypoints"] = [value for point, state in points for value in (*_rounded(point), state)]
        annotation["num_keypoints"] = sum(state != HIDDEN for state in seen)
    return annotation


def _area(outline: np.ndarray) -> float:
    """Return the area of a polygon (N, 2), by the shoelace formula."""
    x, y = outline.astype(float).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]
