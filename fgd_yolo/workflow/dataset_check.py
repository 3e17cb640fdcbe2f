"""The data, looked at once and early: its classes, how many images count, a fingerprint of its content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.utils import LOGGER

from fgd_yolo.console import print_status
from fgd_yolo.datasets import DataYaml, read_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.text import clean_record, printable

# Sizes in bytes do not tell uncompressed pictures apart. More pieces would delay the start of every run: opening a file
# takes 10 ms on a disk that turns.
LOOKED_INTO = 2000  # images of each split, evenly spread
_PIECE = 64 * 1024  # bytes, from the middle


@dataclass(frozen=True)
class Dataset:
    """A dataset as a run sees it.

    Args:
        source: the data YAML that was asked for, absolute.
        names: classes by number.
        train_images: that can be used.
        val_images: that can be used, of the split that is reported.
        skipped: images that the host leaves out, since they or their labels cannot be read.
        channels: of its images.
        key: the same for the same images, classes and boxes, wherever they lie. Of images it takes names and sizes,
            and a piece of the content of at most `LOOKED_INTO` of each split.
        files: as Ultralytics read them.
        yaml: what Ultralytics is given; empty until the data is `kept_in` a folder.
    """

    source: str
    names: dict[int, str]
    train_images: int
    val_images: int
    skipped: int
    channels: int
    key: str
    files: DataYaml
    yaml: str = ""

    def kept_in(self, folder: Path) -> Dataset:
        """Write the copy that Ultralytics is given: absolute paths, and nothing that runs or is fetched."""
        return replace(self, yaml=str(self.files.kept_in(folder).file))


@safe_loading()
def check_dataset(
    data: str, train: Mapping[str, Any], *, allow_download: bool = False, recorded: bool = False
) -> Dataset:
    """Read a dataset YAML and scan its images and labels with the host's own functions.

    Args:
        data: dataset YAML, or a name that the host knows.
        train: the run's train arguments; split, fraction, classes and single_cls decide what counts.
        allow_download: run the download script of the YAML, or fetch an address, where that is needed.
        recorded: the data is that of a run folder: nothing is run or fetched for it.

    Raises:
        FGDError: no such file, a bad YAML, no readable image, or no object at all in a split.
    """
    LOGGER.addFilter(clean_record)
    arguments = get_cfg(overrides={**train, "task": "detect", "cache": False, "rect": False, "batch": 1})
    files = read_dataset(data, split=arguments.split, allow_download=allow_download, recorded=recorded)
    try:
        _check_printable(files.facts, arguments.split)
        with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
            facts = dict(files.kept_in(Path(folder)).facts)  # what is scanned is what will be trained on
            if arguments.single_cls:
                facts["names"] = {0: "item"}
            splits = [_scan(facts, "train", arguments), _scan(facts, arguments.split, arguments)]
    except FGDError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            for split in ("train", arguments.split):
                files.images(split)  # names the place that is missing or empty, in fewer words than Ultralytics
        raise FGDError(f"data {data} cannot be used: {one_line(error)}") from error
    skipped = sum(len(split.label_files) - len(split.labels) for split in splits)
    dataset = Dataset(
        source=str(files.file),
        names=dict(facts["names"]),
        train_images=len(splits[0].labels),
        val_images=len(splits[1].labels),
        skipped=skipped,
        channels=facts["channels"],
        key=_fingerprint(facts, splits),
        files=files,
    )
    left_out = f"; {skipped} that cannot be read are skipped (listed above)" if skipped else ""
    counts = f"{dataset.train_images} train and {dataset.val_images} {arguments.split} images"
    print_status(f"data: {counts}, {len(dataset.names)} class{'es' * (len(dataset.names) != 1)}{left_out}")
    return dataset


def _check_printable(facts: Mapping[str, Any], split: str) -> None:
    """Refuse folders whose names would steer the terminal: Ultralytics shows them in its progress bars."""
    for key in ("yaml_file", "path", "train", split):
        places = facts.get(key) or []
        for place in places if isinstance(places, list) else [places]:
            if printable(place) != str(place):
                raise FGDError(f"data: the path {place} has characters that cannot be printed: rename that folder")


@safe_loading()
def _scan(facts: dict[str, Any], split: str, arguments):
    """Build the host's dataset of a split, which reads every label and image header once."""
    if not facts.get(split):
        raise FGDError(f"data {facts['yaml_file']} names no {split} images")
    mode = "train" if split == "train" else "val"
    dataset = build_yolo_dataset(arguments, facts[split], 1, facts, mode=mode, rect=False)
    if not any(len(label["cls"]) for label in dataset.labels):
        kept = "" if arguments.classes is None else f" of classes={arguments.classes}"
        raise FGDError(
            f"data {facts['yaml_file']} has no labelled object{kept} in its {split} images: labels are text files "
            "in a folder `labels` beside `images`"
        )
    return dataset


def _fingerprint(facts: dict[str, Any], splits) -> str:
    digest = hashlib.sha256(repr((sorted(facts["names"].items()), facts["channels"])).encode())
    for split in splits:
        digest.update(b"split")
        images = [Path(label["im_file"]).absolute() for label in split.labels]
        root = os.path.commonpath([image.parent for image in images])
        every = ceil(len(images) / LOOKED_INTO)
        for number, (image, label) in enumerate(zip(images, split.labels, strict=True)):
            size = image.stat().st_size
            digest.update(f"{image.relative_to(root)} {size}".encode())
            digest.update(label["cls"].tobytes() + label["bboxes"].tobytes())
            if number % every == 0:
                digest.update(_piece(image, size))
    return digest.hexdigest()


def _piece(image: Path, size: int) -> bytes:
    """Return a piece of a file from its middle, or all of a smaller one."""
    with image.open("rb") as file:
        file.seek(max(size - _PIECE, 0) // 2)
        return file.read(_PIECE)
