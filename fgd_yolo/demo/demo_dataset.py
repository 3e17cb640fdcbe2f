"""The demo scenes as an Ultralytics data set on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

from fgd_yolo.console import progress
from fgd_yolo.demo.cache import make_folder
from fgd_yolo.demo.scene import Scene, render_scene
from fgd_yolo.demo.signs import NAMES

FORMAT = 1
"""Part of every cached folder's name: raise it when the same seed gives other files."""

_SPLITS = {"train": 0, "val": 1}


def demo_dataset(
    cache_dir: Path, *, train_images: int = 768, val_images: int = 128, image_px: int = 320, seed: int = 0
) -> Path:
    """Render the labelled demo scenes on first use, and return their data yaml.

    A finished set is reused: its folder is named after the arguments and the format. The same arguments give
    the same bytes for the same versions of numpy and OpenCV; scene n is the same whatever the counts are.

    Convention:
        A label is `class x y width height`, centre and size as fractions of the picture. A box encloses what
        can be *seen* of an object; one that is less than 30 % visible has none. The yaml holds no absolute
        path, so the folder can be moved.
    Args:
        cache_dir: the folder to keep it under, usually `cache_root()`.
        train_images: pictures to train on.
        val_images: pictures to validate on: the same distribution, other random streams.
        image_px: side of the square pictures, pixels.
        seed: of everything.
    Returns:
        `demo.yaml`, beside `images/{train,val}` and `labels/{train,val}`.
    Raises:
        FGDError: the folder cannot be written.
    """
    counts = {"train": train_images, "val": val_images}
    name = f"demo-v{FORMAT}-{train_images}-{val_images}-{image_px}px-seed{seed}"

    def fill(folder: Path) -> None:
        jobs = [(split, index) for split, count in counts.items() for index in range(count)]
        for split in counts:
            (folder / "images" / split).mkdir(parents=True)
            (folder / "labels" / split).mkdir(parents=True)
        for split, index in progress(jobs, "rendering demo scenes"):
            scene = render_scene(np.random.default_rng([seed, _SPLITS[split], index]), image_px)
            _write(folder, split, f"{index:04d}", scene)
        about = {"train": "images/train", "val": "images/val", "names": dict(enumerate(NAMES))}
        (folder / "demo.yaml").write_text(yaml.safe_dump(about, sort_keys=False), encoding="utf-8")

    return make_folder(Path(cache_dir) / name, fill) / "demo.yaml"


def _write(folder: Path, split: str, stem: str, scene: Scene) -> None:
    _, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    (folder / "images" / split / f"{stem}.jpg").write_bytes(jpeg.tobytes())  # cv2.imwrite hides a full disk
    height, width = scene.image.shape[:2]
    (folder / "labels" / split / f"{stem}.txt").write_text(_label_lines(scene, width, height), encoding="utf-8")


def _label_lines(scene: Scene, width: int, height: int) -> str:
    centres = (scene.boxes_xyxy[:, :2] + scene.boxes_xyxy[:, 2:]) / 2 / (width, height)
    sizes = (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]) / (width, height)
    rows = zip(scene.classes, centres, sizes, strict=True)
    return "".join(f"{c} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, (x, y), (w, h) in rows)
