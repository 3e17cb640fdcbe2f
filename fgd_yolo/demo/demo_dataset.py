"""Write the demo scenes as an Ultralytics dataset."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

from fgd_yolo.cache import make_folder
from fgd_yolo.console import progress
from fgd_yolo.demo.label_formats import LABEL_FORMATS, LabelFormat
from fgd_yolo.demo.rendering import Scene, render_scene
from fgd_yolo.demo.signs import NAMES

FORMAT_VERSION = 1
"""Part of the name of the cached folder: increase it when the same seed gives other files."""

_SPLIT_SEEDS = {"train": 0, "val": 1}


def demo_dataset(
    cache_dir: Path,
    *,
    task: str = "detect",
    train_images: int = 768,
    val_images: int = 128,
    image_px: int = 320,
    seed: int = 0,
) -> Path:
    """Render the labelled demo scenes on first use, and return their data YAML.

    A complete dataset is reused: its folder is named after the arguments and the format. The same arguments give the
    same bytes with the same versions of numpy and OpenCV; scene n does not depend on the number of images. All tasks
    have the same images, with the same objects in the same order.

    Convention:
        The labels have Ultralytics' format of the task (`label_formats`), with fractions of the image. They describe
        the visible part of an object; an object that is visible by less than 30 % has none. The YAML has no absolute
        path, so the folder can be moved.
    Args:
        cache_dir: the parent folder, usually `cache_root()`.
        task: "detect", "segment", "pose" or "obb".
        train_images: number of training images.
        val_images: number of validation images, from the same distribution with other seeds.
        image_px: side of the square images in pixels.
        seed: seed of the dataset.
    Returns:
        The path of `demo.yaml`, beside `images/{train,val}` and `labels/{train,val}`.
    Raises:
        FGDError: the folder cannot be written.
    """
    counts = {"train": train_images, "val": val_images}
    labels = LABEL_FORMATS[task]
    name = f"demo{labels.folder_part}-v{FORMAT_VERSION}-{train_images}-{val_images}-{image_px}px-seed{seed}"

    def fill(folder: Path) -> None:
        jobs = [(split, index) for split, count in counts.items() for index in range(count)]
        for split in counts:
            (folder / "images" / split).mkdir(parents=True)
            (folder / "labels" / split).mkdir(parents=True)
        for split, index in progress(jobs, "rendering demo scenes"):
            scene = render_scene(np.random.default_rng([seed, _SPLIT_SEEDS[split], index]), image_px)
            _write(folder, split, f"{index:04d}", scene, labels)
        data = {"train": "images/train", "val": "images/val", "names": dict(enumerate(NAMES)), **labels.yaml_entries}
        (folder / "demo.yaml").write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    return make_folder(Path(cache_dir) / name, fill) / "demo.yaml"


def _write(folder: Path, split: str, stem: str, scene: Scene, labels: LabelFormat) -> None:
    _, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    (folder / "images" / split / f"{stem}.jpg").write_bytes(jpeg.tobytes())  # cv2.imwrite does not report a full disk
    (folder / "labels" / split / f"{stem}.txt").write_text(labels.text(scene), encoding="utf-8")
