"""Hold out train images to choose options on, so that the val split, which is reported, stays unused."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from fgd_yolo.datasets import link_images, read_dataset, write_data_yaml
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
        # Numbers preserve the order and distinguish images of the same name.
        links = [folder / "images" / split / f"{number:06}-{image.name}" for number, image in enumerate(files)]
        link_images(files, links, labels=True)
    places = {split: f"images/{split}" for split in splits}
    return write_data_yaml(folder / f"{source.file.stem}.yaml", places, source.options)
