"""Read data sets safely, and give Ultralytics a plain copy of their YAML.

Reading a data YAML can execute code: while images are missing, every part of Ultralytics that reads the file runs or
fetches what is under `download`. Also, entries of an image list can be relative to the working folder. Therefore data
sets are read here with Ultralytics' own functions, and trainers, validators and exporters get a YAML with absolute
paths and without `download`.

`read_dataset` reads a data YAML, and `scan_dataset` its images and labels too; both return a `Dataset`. `demo_data`
renders the data set of a run without `--data`.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import yaml
from ultralytics.cfg import get_cfg
from ultralytics.data import YOLODataset, build_yolo_dataset
from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import check_det_dataset, convert_ndjson_to_yolo_if_needed, find_dataset_yaml
from ultralytics.utils import LOGGER, ROOT, YAML
from ultralytics.utils.checks import check_file

from fgd_yolo.console import print_status
from fgd_yolo.demo import cache_root, demo_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path
from fgd_yolo.label_checks import check_keypoint_shape, corner_note, explain_labels, no_objects
from fgd_yolo.safe_loading import safe_loading, user_settings
from fgd_yolo.text import clean_record, printable, printable_names
from fgd_yolo.ultralytics import quiet_ultralytics
from fgd_yolo.unlabeled_images import without_labels

DATA_FOLDER = "data"
"""Subfolder of a run folder with the copy of the data YAML."""
SPLITS = ("train", "val", "test", "minival")
SAMPLED_IMAGES = 2000
"""Maximum number of images per split whose content is part of the digest of a data set, evenly spaced. File sizes do
not distinguish uncompressed images, and reading all files would delay every run, by 10 ms per file on a hard disk."""
_SAMPLE_BYTES = 64 * 1024  # from the middle of an image file
LABELLED_BY = "labelled_by"
"""Key of a data YAML whose val labels are a teacher's objects, with its name and their lowest score."""
AGREEMENT_YAML = "agreement.yaml"
"""File name of such a data YAML."""
TRAIN_LABELS = "train_labels"
"""Key of a data YAML that is False if its train images have no labels: label files of them are never opened."""
# The other keys of a data YAML are descriptions, or `download`.
_COPIED_KEYS = (
    *("names", "nc", "channels", "kpt_shape", "kpt_names", "kpt_oks_sigmas", "flip_idx", "masks_dir"),
    *(LABELLED_BY, TRAIN_LABELS),
)
_KEYPOINT_KEYS = ("kpt_shape", "flip_idx", "kpt_oks_sigmas")  # they decide what a pose student learns
_ADDRESS = re.compile(r"\w[\w+.-]+:/", re.IGNORECASE)  # at least two letters: C:/ is a drive
_YAML = {".yaml", ".yml"}
_HOW_TO_ALLOW = "--allow-download (allow_download=True)"


class Scan(NamedTuple):
    """The result of reading all images and labels that a training with certain arguments uses."""

    names: dict[int, str]
    """Classes by number; one class for `single_cls`."""
    train_images: int
    """Usable training images."""
    val_images: int
    """Usable images of the split that is reported."""
    skipped: int
    """Images that Ultralytics leaves out because they or their labels cannot be read."""
    digest: str
    """SHA-256 of images, classes, boxes, and masks or keypoints of the task, independent of their folder. It covers
    name and size of each image, and a part of the content of at most `SAMPLED_IMAGES` images of a split."""
    val_digest: str
    """The same of the split that is reported alone."""


@dataclass(frozen=True)
class Dataset:
    """A data set on this disk.

    Args:
        source: absolute path of the data YAML or archive that was read.
        info: result of Ultralytics' `check_det_dataset`: absolute paths by split, names, channels and more.
        file: data YAML for Ultralytics: `source`, or the copy that `copy_to` has written.
        scan: result of `scan_dataset`; None after `read_dataset`.
    """

    source: Path
    info: dict[str, Any]
    file: Path
    scan: Scan | None = None

    @property
    def names(self) -> dict[int, str]:
        """Class names by number; of a scanned data set, those that a training uses."""
        return self.info["names"] if self.scan is None else self.scan.names

    @property
    def labelled_by(self) -> dict[str, Any] | None:
        """`teacher` and `score` if the val labels are a teacher's objects above a score, None for true labels."""
        return self.info.get(LABELLED_BY)

    def check_true_labels(self) -> None:
        """Check that what is measured on the val images is accuracy.

        Raises:
            FGDError: their labels are a teacher's objects.
        """
        if self.labelled_by is not None:
            teacher = self.labelled_by["teacher"]
            raise FGDError(
                f"the val labels of {self.source} are the objects of {teacher}, so nothing measured on them is "
                "accuracy: compare on data with labelled val images"
            )

    @property
    def has_train_labels(self) -> bool:
        """Whether the train images have labels."""
        return self.info.get(TRAIN_LABELS, True)

    @property
    def is_yaml(self) -> bool:
        """Whether `file` is a YAML, not an archive."""
        return self.file.suffix.lower() in _YAML

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.info["channels"]

    def images(self, split: str) -> list[Path]:
        """Return the absolute paths of a split's images, in Ultralytics' order.

        Raises:
            FGDError: the data set has no such split, or no image in it.
        """
        places = _paths(self.info.get(split))
        if not places:
            raise FGDError(f"data {self.file} names no {split} images")
        missing = [place for place in places if not Path(place).exists()]
        if missing:
            raise FGDError(f"the {split} images of {self.file.name} are missing: {missing[0]} does not exist")
        return _image_files(places)

    def copy_to(self, folder: Path) -> Dataset:
        """Write a copy of the data YAML without `download` that is valid in every working folder.

        Image lists are copied to `STEM/SPLIT/NAME` beside the copy, with absolute paths; Ultralytics recognises COCO
        by that name. A list without any image is not copied, since the split may not be needed; code that needs it
        reports the problem.

        Raises:
            FGDError: the folder cannot be written.
        """
        splits = {}
        for split in SPLITS:
            places = _paths(self.info.get(split))
            lists = [place for place in places if Path(place).is_file()]
            images = _images_in_lists(lists)
            if images:
                name = Path(lists[0]).name if len(lists) == 1 else f"{split}.txt"
                list_file = folder.absolute() / self.file.stem / split / name
                with atomic_path(list_file) as path:
                    path.write_text("".join(f"{image}\n" for image in images), encoding="utf-8")
                places = [place for place in places if place not in lists] + [str(list_file)]
            splits[split] = places[0] if len(places) == 1 else places
        file = folder.absolute() / f"{self.file.stem}.yaml"
        copy = replace(self, info={**self.info, **splits}, file=file)
        with atomic_path(file) as path:
            path.write_text(yaml.safe_dump(copy._plain_yaml, sort_keys=False), encoding="utf-8")
        return copy

    def copy_if_needed(self, folder: Path) -> Dataset:
        """Return the data set itself if a copy of its file would have the same content, or a copy in the folder."""
        lists = [place for split in SPLITS for place in _paths(self.info.get(split)) if Path(place).is_file()]
        relative = any(not Path(line).is_absolute() for place in lists for line in _lines(place))
        if self.is_yaml and not relative and YAML.load(self.file) == self._plain_yaml:
            return self
        return self.copy_to(folder)

    @property
    def options(self) -> dict[str, Any]:
        """The entries of the YAML that define how images and labels are read, such as names and keypoints."""
        return {key: self.info[key] for key in _COPIED_KEYS if self.info.get(key) is not None}

    @property
    def _plain_yaml(self) -> dict[str, Any]:
        required = {"train": self.info.get("train"), "val": self.info.get("val")}
        places = {**required, **{split: self.info[split] for split in SPLITS if self.info.get(split)}}
        return {"path": str(Path(self.info["path"]).absolute()), **places, **self.options}


def read_dataset(data: Any, *, split: str = "", allow_download: bool = False, recorded: bool = False) -> Dataset:
    """Read the YAML of a data set. A script or address that it needs is printed, and run or fetched only if allowed.

    Args:
        data: data YAML, a folder or an archive with one, a name known to Ultralytics (`coco8.yaml`), or an address.
        split: split whose images must exist; empty means `val`, as in Ultralytics.
        allow_download: run the `download` script of the YAML if images are missing, or fetch an address. Ultralytics'
            own data sets need no permission.
        recorded: whether the data is named by a run folder or a checkpoint, not by the user; nothing is run, downloaded
            or unpacked then.

    Raises:
        FGDError: the data set cannot be used, or needs a download that is not allowed; the script or address has been
            printed.
    """
    with safe_loading():
        try:
            file = _find(data, allow_download, recorded)
            return _read(file, split, allow_download, recorded)
        except FGDError:
            raise
        except Exception as error:  # Ultralytics raises many types here, from SyntaxError to RuntimeError
            raise FGDError(f"data {data} cannot be used: {one_line(error)}") from error


def demo_data(task: str = "detect") -> str:
    """Return the data YAML of the built-in demo scenes for a task, which are rendered on first use."""
    print_status("no data set given: using the built-in demo scenes, rendered on first use")
    return str(demo_dataset(cache_root(), task=task))


def split_images(data: Any, split: str, purpose: str) -> list[Path]:
    """Return the images of a split of a data set on this disk; nothing is run, downloaded or unpacked.

    Args:
        data: data YAML given by the user or recorded in a checkpoint; None without either.
        split: `train` or `val`.
        purpose: purpose of the images for the error message, such as "to calibrate int8 on".

    Raises:
        FGDError: the data set is not on this disk, or has no image in the split.
    """
    problem = f"no real images {purpose}"
    advice = f"pass data= (--data) with a dataset YAML whose {split} images are on this disk"
    if data is None:
        raise FGDError(f"{problem}: the checkpoint names no data; {advice}")
    try:
        return read_dataset(data, split=split, recorded=True).images(split)
    except FGDError as error:
        raise FGDError(f"{problem}: {one_line(error)[:200]}; {advice}") from error


def run_dataset(run_dir: Path) -> Path | None:
    """Return the copy of the data YAML in a run folder, or None."""
    return next(iter(sorted((run_dir / DATA_FOLDER).glob("*.yaml"))), None)


def moved_dataset(recorded: Any, weights: Path) -> Any:
    """Return the data that a checkpoint names, or the copy in its run folder if that folder has been moved.

    Args:
        recorded: `data` of the checkpoint's train arguments.
        weights: the checkpoint, in a run folder or in `STAGE/weights` of one.
    """
    if isinstance(recorded, str) and Path(recorded).parent.name == DATA_FOLDER and not Path(recorded).exists():
        copies = [folder / DATA_FOLDER / Path(recorded).name for folder in weights.absolute().parents[:3]]
        return next((str(file) for file in copies if file.is_file()), recorded)
    return recorded


def has_images(data: str | Path) -> bool:
    """Return whether a data YAML of a run folder can be read and its images exist."""
    try:
        info = read_dataset(data, recorded=True).info
    except FGDError:
        return False
    return all(_exists(place) for split in SPLITS for place in _paths(info.get(split)))


def same_images(one: str | Path, other: str | Path) -> bool:
    """Return whether two data YAMLs on this disk name the same classes and the same train and val images."""
    try:
        first, second = read_dataset(one, recorded=True), read_dataset(other, recorded=True)
        return first.names == second.names and all(
            sorted(first.images(split)) == sorted(second.images(split)) for split in ("train", "val")
        )
    except FGDError:
        return False


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
    print_status(f"data: {counts}, {len(scan.names)} class{'es' * (len(scan.names) != 1)}{skipped}")
    if note and not recorded:
        print_status(f"data: {note}")
    return replace(dataset, scan=scan)


def first_batch(dataset: Dataset, arguments: Any, count: int) -> dict[str, Any]:
    """Return the first train images with their labels as a batch of Ultralytics, unchanged but for their size.

    Args:
        dataset: scanned data set.
        arguments: Ultralytics' arguments; `task`, `imgsz`, `fraction` and `classes` are used.
        count: number of images, at most all.
    """
    unlabeled = nullcontext() if dataset.has_train_labels else without_labels()
    with quiet_ultralytics(), unlabeled:
        images = build_yolo_dataset(arguments, dataset.info["train"], count, dataset.info, mode="val", rect=False)
    return images.collate_fn([images[index] for index in range(min(count, len(images)))])


def is_official(file: Path) -> bool:
    """Return whether the content of a data YAML is exactly that of one shipped with Ultralytics, in any folder."""
    shipped = ROOT / "cfg" / "datasets" / file.name
    return shipped.is_file() and shipped.read_bytes() == file.read_bytes()


def _find(data: Any, allow_download: bool, recorded: bool) -> Path:
    """Find the YAML or archive of a data set as Ultralytics does."""
    if not isinstance(data, (str, Path)) or not str(data).strip():
        raise FGDError(f"{str(data)[:60]!r} is not a data YAML: pass data= (--data) with one")
    name = str(data)
    if _ADDRESS.match(name.strip()) or name.lower().endswith(".ndjson"):
        name = str(_fetch(name.strip(), allow_download, recorded))
    if not Path(name).exists() and Path(name).suffix.lower() not in _YAML:  # coco8 for coco8.yaml
        name = next((f"{name}{suffix}" for suffix in sorted(_YAML) if check_file(f"{name}{suffix}", hard=False)), name)
    file = Path(check_file(name)).absolute()
    return find_dataset_yaml(file) if file.is_dir() else file


def _fetch(address: str, allow_download: bool, recorded: bool) -> str | Path:
    """Let Ultralytics download a YAML, an archive, or the images that an .ndjson file names."""
    if recorded:
        raise FGDError(f"data {printable(address)} is not on this disk and is not downloaded here: give a data YAML")
    print(f"data: {printable(address)} must be downloaded", flush=True)
    if not allow_download:
        raise FGDError(f"data {printable(address)} is downloaded only with {_HOW_TO_ALLOW}: add it, or give a file")
    with user_settings():
        return check_file(convert_ndjson_to_yolo_if_needed(address))


def _read(file: Path, split: str, allow_download: bool, recorded: bool) -> Dataset:
    if file.suffix.lower() not in _YAML:
        return _unpack(file, recorded)
    description = YAML.load(file)
    moved = _moved_lists(file, description)
    if moved:
        return _read_with_lists(file, {**description, **moved}, split)
    split = split if description.get(split) else ""  # a missing split is reported where it is needed
    try:
        with quiet_ultralytics():
            return Dataset(file, _info(file, autodownload=False, split=split), file)
    except FileNotFoundError as missing:
        script = description.get("download")
        if recorded or not script:
            path = re.search(r"missing path '(.*)'", str(missing))
            reason = f"{path[1]} does not exist" if path else one_line(missing)
            not_run = ", and its download script is not run here" if script else ""
            raise FGDError(f"the images of {file} are missing{not_run}: {reason}") from missing
        _require_permission(file, str(script), allow_download)
    with user_settings():
        return Dataset(file, _info(file, split=split), file)


def _info(file: Path, **options: Any) -> dict[str, Any]:
    """Return what Ultralytics reads from a data YAML or archive, with class names that are safe to print."""
    info = check_det_dataset(str(file), **options)
    return {**info, "names": printable_names(info["names"])}


def _moved_lists(file: Path, description: dict[str, Any]) -> dict[str, list[str]]:
    """Return the splits of a copy that was moved with its run folder whose image lists have new paths."""
    moved = {}
    for split in SPLITS:
        places = _paths(description.get(split))
        beside = [file.parent / file.stem / split / Path(place).name for place in places]
        present = [
            str(list_file) if list_file.is_file() and not Path(place).exists() else place
            for place, list_file in zip(places, beside, strict=True)
        ]
        if present != places:
            moved[split] = present
    return moved


def _read_with_lists(file: Path, description: dict[str, Any], split: str) -> Dataset:
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
        changed = Path(folder) / file.name
        description = {key: value for key, value in description.items() if key != "download"}
        changed.write_text(yaml.safe_dump(description), encoding="utf-8")
        return Dataset(file, _read(changed, split, allow_download=False, recorded=True).info, file)


def _require_permission(file: Path, script: str, allow_download: bool) -> None:
    """Print the download script of a YAML, and raise unless it is allowed or Ultralytics' own."""
    if is_official(file):
        print(f"data: {file.name} is one of Ultralytics' own and not on this disk yet: downloading it", flush=True)
        return
    print(f"data: the images of {file.name} are missing; its download script is:", flush=True)
    print("".join(f"    {printable(line.expandtabs(4))}\n" for line in script.splitlines()), end="", flush=True)
    if not allow_download:
        raise FGDError(
            f"the images of {file} are missing: put them there, or read the script printed above and allow it with "
            f"{_HOW_TO_ALLOW}"
        )


def _unpack(archive: Path, recorded: bool) -> Dataset:
    """Let Ultralytics unpack an archive into its datasets folder; the script of a YAML in it is not run."""
    if recorded:
        raise FGDError(f"data {archive} is not a data YAML, and nothing is unpacked here: give a data YAML")
    with user_settings():
        return Dataset(archive, _info(archive, autodownload=False), archive)


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
    if not unlabeled and not any(len(label["cls"]) for label in dataset.labels):
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
                digest.update(_middle(image, size))
    return digest.hexdigest()


def _further_labels(label: Mapping[str, Any], task: str) -> bytes:
    """Return what a label of a task holds besides class and box."""
    if task in ("segment", "obb"):
        return b"".join(b"polygon" + polygon.tobytes() for polygon in label["segments"])
    return label["keypoints"].tobytes() if task == "pose" else b""


def _middle(image: Path, size: int) -> bytes:
    """Return the middle of a file, or all of a small file."""
    with image.open("rb") as file:
        file.seek(max(size - _SAMPLE_BYTES, 0) // 2)
        return file.read(_SAMPLE_BYTES)


def _paths(places: str | list[str] | None) -> list[str]:
    """Return the paths of a split as a list, without invalid values."""
    listed = places if isinstance(places, list) else [places]
    return [place for place in listed if isinstance(place, str) and place]


def _image_files(places: list[str]) -> list[Path]:
    """Return the absolute paths of the images in folders and image lists, as Ultralytics reads them."""
    state = random.getstate()  # Ultralytics measures the disk speed on a random sample
    try:
        with quiet_ultralytics():
            files = BaseDataset.get_img_files(SimpleNamespace(prefix="", fraction=1.0), places)
    except Exception as error:
        raise FGDError(f"no image can be found in {places[0]}: {one_line(error.__cause__ or error)}") from error
    finally:
        random.setstate(state)
    return [Path(file).absolute() for file in files]


def _images_in_lists(lists: list[str]) -> list[Path]:
    try:
        return _image_files(lists) if lists else []
    except FGDError:
        return []


def _exists(place: str) -> bool:
    """Return whether a folder exists, or an image list and its first image."""
    return Path(place).is_dir() or (Path(place).is_file() and all(Path(image).is_file() for image in _lines(place)[:1]))


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
