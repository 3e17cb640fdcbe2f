"""Models of all tasks that label the drawn images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from fixtures import KEYPOINTS, draw_dataset, narrow_rtdetr, narrow_yaml, save_checkpoint


class Drawn(NamedTuple):
    """A checkpoint, and drawn images of two shapes that it labels."""

    model: Path
    images: list[Path]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Return a function from the name of a model to what it labels; each is built once."""
    import cv2

    folder = tmp_path_factory.mktemp("drawn")
    data = draw_dataset(folder / "data", train=4)
    images = sorted((folder / "data/images/train").iterdir())
    for image in images[1::2]:  # wide images between square ones
        assert cv2.imwrite(str(image), cv2.resize(cv2.imread(str(image)), (160, 96)))
    built: dict[str, Drawn] = {}

    def build(name: str) -> Drawn:
        if name not in built:
            task = name if name in ("segment", "pose", "obb") else "detect"
            yaml = folder / f"{name}.yaml"
            keypoints = KEYPOINTS if task == "pose" else {}
            if name == "rtdetr":
                narrow_rtdetr(yaml, 0.125)
            elif name == "yolo26":
                yaml = Path("yolo26n.yaml")
            else:
                narrow_yaml(yaml, 0.125, task, **keypoints)
            model = save_checkpoint(
                folder / f"{name}.pt", yaml, data, task=task, small_boxes=name not in ("rtdetr", "yolo26")
            )
            built[name] = Drawn(model, images)
        return built[name]

    return build
