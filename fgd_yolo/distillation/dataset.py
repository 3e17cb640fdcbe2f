"""The data, looked at once and early: its classes, how many images count, a fingerprint of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import LOGGER

from fgd_yolo.distillation.wording import say
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.text import clean_record, printable, printable_names


@dataclass(frozen=True)
class Dataset:
    """A dataset as a run sees it.

    Args:
        yaml: what the host is given.
        names: classes by number.
        train_images: that can be used.
        val_images: that can be used, of the split that is reported.
        skipped: images that the host leaves out, since they or their labels cannot be read.
        channels: of its images.
        key: the same for the same images' names and sizes, classes and boxes, wherever they lie.
    """

    yaml: str
    names: dict[int, str]
    train_images: int
    val_images: int
    skipped: int
    channels: int
    key: str


def check_dataset(data: str, train: Mapping[str, Any]) -> Dataset:
    """Read a dataset YAML and scan its images and labels with the host's own functions.

    Args:
        data: dataset YAML, or a name that the host knows.
        train: the run's train arguments; split, fraction, classes and single_cls decide what counts.

    Raises:
        FGDError: no such file, a bad YAML, no readable image, or no object at all in a split.
    """
    LOGGER.addFilter(clean_record)
    arguments = get_cfg(overrides={**train, "task": "detect", "cache": False, "rect": False, "batch": 1})
    try:
        facts = check_det_dataset(data, split=arguments.split)
        facts["names"] = printable_names(facts["names"])
        _check_printable(facts, arguments.split)
        if arguments.single_cls:
            facts["names"] = {0: "item"}
        splits = [_scan(facts, "train", arguments), _scan(facts, arguments.split, arguments)]
    except FGDError:
        raise
    except Exception as error:
        raise FGDError(f"data {data} cannot be used: {one_line(error)}") from error
    skipped = sum(len(split.label_files) - len(split.labels) for split in splits)
    dataset = Dataset(
        yaml=str(Path(facts["yaml_file"]).absolute()),
        names=dict(facts["names"]),
        train_images=len(splits[0].labels),
        val_images=len(splits[1].labels),
        skipped=skipped,
        channels=facts["channels"],
        key=_fingerprint(facts, splits),
    )
    left_out = f"; {skipped} that cannot be read are skipped (listed above)" if skipped else ""
    counts = f"{dataset.train_images} train and {dataset.val_images} {arguments.split} images"
    say(f"data: {counts}, {len(dataset.names)} class{'es' * (len(dataset.names) != 1)}{left_out}")
    return dataset


def _check_printable(facts: Mapping[str, Any], split: str) -> None:
    """Refuse folders whose names would steer the terminal: Ultralytics shows them in its progress bars."""
    for key in ("yaml_file", "path", "train", split):
        places = facts.get(key) or []
        for place in places if isinstance(places, list) else [places]:
            if printable(place) != str(place):
                raise FGDError(f"data: the path {place} has characters that cannot be printed: rename that folder")


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
    root = Path(facts["path"]).absolute()
    for split in splits:
        digest.update(b"split")
        for label in split.labels:
            image = Path(label["im_file"])
            place = image.relative_to(root) if image.is_relative_to(root) else image
            digest.update(f"{place} {image.stat().st_size}".encode())
            digest.update(label["cls"].tobytes() + label["bboxes"].tobytes())
    return digest.hexdigest()
