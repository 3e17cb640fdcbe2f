"""Read all images and labels of a data set before a training, by Ultralytics' own functions."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.data import YOLODataset, build_yolo_dataset
from ultralytics.utils import LOGGER

from fgd_yolo.console import print_status
from fgd_yolo.datasets.dataset import LABELLED_BY, TRAIN_LABELS, Dataset, Scan
from fgd_yolo.datasets.label_checks import check_keypoint_shape, corner_note, explain_labels, no_objects
from fgd_yolo.datasets.reading import read_dataset
from fgd_yolo.datasets.unlabeled_images import without_labels
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import middle_of_file
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.text import clean_record, counted, printable

SAMPLED_IMAGES = 2000
"""Maximum number of images per split whose content is part of the digest of a data set, evenly spaced. File sizes do
not distinguish uncompressed images, and reading all files would delay every run, by 10 ms per file on a hard disk."""
_KEYPOINT_KEYS = ("kpt_shape", "flip_idx", "kpt_oks_sigmas")  # they decide what a pose student learns


@safe_loading()
def scan_dataset(
    data: str | Path, train: Mapping[str, Any], *, allow_download: bool = False, recorded: bool = False
) -> Dataset:
    """Read a data set with all images and labels, by Ultralytics' own functions, and print the numbers of images.

    Args:
        data: as for `read_dataset`.
        train: train arguments; `task` selects the kind of labels; `split`, `fraction`, `classes` and `single_cls`
            select images and classes.
        allow_download: as for `read_dataset`.
        recorded: as for `read_dataset`.

    Raises:
        FGDError: the file is missing, the YAML is invalid, or a split has no readable image or no labelled object.
    """
    LOGGER.addFilter(clean_record)
    arguments = get_cfg(overrides={"task": "detect", **train, "cache": False, "rect": False, "batch": 1})
    dataset = read_dataset(data, split=arguments.split, allow_download=allow_download, recorded=recorded)
    try:
        _check_printable(dataset.info, arguments.split)
        with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
            info = dict(dataset.copy_to(Path(folder)).info)  # the training uses a copy too
            if arguments.single_cls:
                info["names"] = {0: "item"}
            splits = [_read_split(info, split, arguments) for split in ("train", arguments.split)]
    except FGDError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            for split in ("train", arguments.split):
                dataset.images(split)  # raises a shorter message with the missing or empty folder
        raise FGDError(f"data {data} cannot be used: {one_line(error)}") from error
    scan = Scan(
        names=dict(info["names"]),
        train_images=len(splits[0].labels),
        val_images=len(splits[1].labels),
        skipped=sum(len(split.label_files) - len(split.labels) for split in splits if hasattr(split, "label_files")),
        digest=_digest(info, splits, arguments.task),
        val_digest=_digest(info, splits[1:], arguments.task),
    )
    skipped = f"; {scan.skipped} unreadable ones are skipped (listed above)" if scan.skipped else ""
    train_counts = f"{scan.train_images} {'train' if dataset.has_train_labels else 'unlabelled'}"
    counts = f"{train_counts} and {scan.val_images} {arguments.split} images"
    note = corner_note((label for split in splits for label in split.labels), arguments.task)
    print_status(f"data: {counts}, {counted(len(scan.names), 'class')}{skipped}")
    if note and not recorded:
        print_status(f"data: {note}")
    return replace(dataset, scan=scan)


def _check_printable(info: Mapping[str, Any], split: str) -> None:
    """Raise if a folder name has control characters, since Ultralytics prints it in progress bars."""
    for key in ("yaml_file", "path", "train", split):
        places = info.get(key) or []
        for place in places if isinstance(places, list) else [places]:
            if printable(place) != str(place):
                raise FGDError(f"data: the path {place} has characters that cannot be printed: rename that folder")


@safe_loading()
def _read_split(info: dict[str, Any], split: str, arguments) -> YOLODataset:
    """Build Ultralytics' dataset of a split, which reads all labels and image headers."""
    if not info.get(split):
        raise FGDError(f"data {info['yaml_file']} names no {split} images")
    mode = "train" if split == "train" else "val"
    check_keypoint_shape(info, arguments.task)
    unlabeled = split == "train" and not info.get(TRAIN_LABELS, True)
    try:
        with without_labels() if unlabeled else nullcontext():
            dataset = build_yolo_dataset(arguments, info[split], 1, info, mode=mode, rect=False)
    except ValueError as error:
        raise explain_labels(error, info, arguments.task, split) from error
    labelled = not unlabeled and LABELLED_BY not in info  # a teacher may find nothing
    if labelled and not any(len(label["cls"]) for label in dataset.labels):
        reason = no_objects(info, arguments.task, split, len(dataset.label_files) - len(dataset.labels))
        if reason:
            raise FGDError(reason)
        kept = "" if arguments.classes is None else f" of classes={arguments.classes}"
        raise FGDError(
            f"data {info['yaml_file']} has no labelled object{kept} in its {split} images: labels are text files "
            "in a folder `labels` beside `images`"
        )
    return dataset


def _digest(info: dict[str, Any], splits: Sequence[YOLODataset], task: str) -> str:
    digest = hashlib.sha256(repr((sorted(info["names"].items()), info["channels"])).encode())
    if task == "pose":
        digest.update(repr([info.get(key) for key in _KEYPOINT_KEYS]).encode())
    for split in splits:
        digest.update(b"split")
        images = [Path(label["im_file"]).absolute() for label in split.labels]
        root = os.path.commonpath([image.parent for image in images])
        every = ceil(len(images) / SAMPLED_IMAGES)
        for number, (image, label) in enumerate(zip(images, split.labels, strict=True)):
            size = image.stat().st_size
            digest.update(f"{image.relative_to(root)} {size}".encode())
            digest.update(label["cls"].tobytes() + label["bboxes"].tobytes())
            digest.update(_further_labels(label, task))
            if number % every == 0:
                digest.update(middle_of_file(image, size))
    return digest.hexdigest()


def _further_labels(label: Mapping[str, Any], task: str) -> bytes:
    """Return what a label of a task holds besides class and box."""
    if task in ("segment", "obb"):
        return b"".join(b"polygon" + polygon.tobytes() for polygon in label["segments"])
    return label["keypoints"].tobytes() if task == "pose" else b""
