"""A part of the train images to choose settings by, so that the split that is reported stays unseen."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import yaml
from ultralytics.data.utils import img2label_paths

from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import FGDError


def held_out(names: Iterable[str], part: float) -> set[str]:
    """Return the file names that are measured on instead of learnt from.

    Convention:
        Names are sorted by the SHA-256 of their UTF-8 bytes, in hexadecimal; the first round(part * count) are held
        out. So the choice depends on nothing but the names.

    Args:
        names: file names of the train images, without folders.
        part: of them to hold out, between 0 and 1.
    """
    ordered = sorted(names, key=lambda name: sha256(name.encode()).hexdigest())
    return set(ordered[: round(part * len(ordered))])


def hold_out(data: str, part: float, folder: Path, *, allow_download: bool = False) -> Path:
    """Make a dataset whose train and val images are both from the train split of another, and return its YAML.

    Images and labels are links to the originals; the val split of the original is not read.

    Args:
        data: dataset YAML, or a name that the host knows.
        part: of the train images to measure on.
        folder: to make it in; what is there is replaced.
        allow_download: run the download script of the data, or fetch it from its address, where that is needed.

    Raises:
        FGDError: the dataset cannot be read, or one of both parts would be empty.
    """
    found = read_dataset(data, split="train", allow_download=allow_download)
    images, info = found.images("train"), found.info
    out = held_out((image.name for image in images), part)
    splits = {
        "train": [image for image in images if image.name not in out],
        "val": [image for image in images if image.name in out],
    }
    empty = [split for split, files in splits.items() if not files]
    if empty:
        raise FGDError(f"--hold-out {part:g} of {len(images)} train images leaves no {empty[0]} image")
    shutil.rmtree(folder, ignore_errors=True)
    for split, files in splits.items():
        _link(files, folder, split)
    description = {
        "path": str(folder),
        "train": "images/train",
        "val": "images/val",
        "names": info["names"],
        "channels": info["channels"],
    }
    path = folder / f"{found.file.stem}.yaml"
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return path


def _link(images: Sequence[Path], folder: Path, split: str) -> None:
    """Link images and their labels; a number in front keeps two of the same name apart, and their order."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    labels = img2label_paths([str(image) for image in images])
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{number:06}-{image.name}"
        (folder / "images" / split / name).symlink_to(image.absolute())
        if Path(label).is_file():
            (folder / "labels" / split / f"{Path(name).stem}.txt").symlink_to(Path(label).absolute())
