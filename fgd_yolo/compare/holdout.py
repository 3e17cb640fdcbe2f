"""Hold out train images to choose options on, so that the val split, which is reported, stays unused."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import yaml
from ultralytics.data.utils import img2label_paths

from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import FGDError


def held_out_names(names: Iterable[str], fraction: float) -> set[str]:
    """Return the file names to measure on instead of training on.

    Convention:
        Names are sorted by the SHA-256 of their UTF-8 bytes, in hexadecimal; the first round(fraction * count) are
        held out. The choice depends on nothing but the names.

    Args:
        names: file names of the train images, without folders.
        fraction: fraction of the names to hold out, between 0 and 1.
    """
    ordered = sorted(names, key=lambda name: sha256(name.encode()).hexdigest())
    return set(ordered[: round(fraction * len(ordered))])


def make_holdout(data: str, fraction: float, folder: Path, *, allow_download: bool = False) -> Path:
    """Create a dataset whose train and val images both come from the train split of another, and return its YAML.

    Images and labels are links to the originals; the val split of the original is not read.

    Args:
        data: dataset YAML, or a name that Ultralytics knows.
        fraction: fraction of the train images to measure on.
        folder: folder of the new dataset; its contents are replaced.
        allow_download: run the download script of the data, or download it from its URL, if needed.

    Raises:
        FGDError: the dataset cannot be read, or one of the two splits would be empty.
    """
    source = read_dataset(data, split="train", allow_download=allow_download)
    images = source.images("train")
    held_out = held_out_names((image.name for image in images), fraction)
    splits = {
        "train": [image for image in images if image.name not in held_out],
        "val": [image for image in images if image.name in held_out],
    }
    empty = [split for split, files in splits.items() if not files]
    if empty:
        raise FGDError(f"--val-fraction {fraction:g} of {len(images)} train images leaves no {empty[0]} image")
    shutil.rmtree(folder, ignore_errors=True)
    for split, files in splits.items():
        _link(files, folder, split)
    description = {
        "path": str(folder),
        "train": "images/train",
        "val": "images/val",
        **source.options,
    }
    path = folder / f"{source.file.stem}.yaml"
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return path


def _link(images: Sequence[Path], folder: Path, split: str) -> None:
    """Link images and labels; numbers as prefixes preserve the order and distinguish images of the same name."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    labels = img2label_paths([str(image) for image in images])
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{number:06}-{image.name}"
        (folder / "images" / split / name).symlink_to(image.absolute())
        if Path(label).is_file():
            (folder / "labels" / split / f"{Path(name).stem}.txt").symlink_to(Path(label).absolute())
