"""`Dataset`: a data set on this disk, and the plain copy of its YAML that Ultralytics is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ultralytics.utils import YAML

from fgd_yolo.datasets.image_places import image_files, images_in_lists, lines_of, listed_places
from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path

DATA_FOLDER = "data"
"""Subfolder of a run folder with the copy of the data YAML."""
SPLITS = ("train", "val", "test", "minival")
LABELLED_BY = "labelled_by"
"""Key of a data YAML whose val labels are a teacher's objects, with its name and their lowest score."""
AGREEMENT_YAML = "agreement.yaml"
FRAMES_LIST = "unlabeled.txt"
"""File name of such a data YAML."""
TRAIN_LABELS = "train_labels"
"""Key of a data YAML that is False if its train images have no labels: label files of them are never opened."""
# The other keys of a data YAML are descriptions, or `download`.
_COPIED_KEYS = (
    *("names", "nc", "channels", "kpt_shape", "kpt_names", "kpt_oks_sigmas", "flip_idx", "masks_dir"),
    *(LABELLED_BY, TRAIN_LABELS),
)
YAML_SUFFIXES = {".yaml", ".yml"}


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
        return self.file.suffix.lower() in YAML_SUFFIXES

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.info["channels"]

    def images(self, split: str) -> list[Path]:
        """Return the absolute paths of a split's images, in Ultralytics' order.

        Raises:
            FGDError: the data set has no such split, or no image in it.
        """
        places = listed_places(self.info.get(split))
        if not places:
            raise FGDError(f"data {self.file} names no {split} images")
        missing = [place for place in places if not Path(place).exists()]
        if missing:
            raise FGDError(f"the {split} images of {self.file.name} are missing: {missing[0]} does not exist")
        return image_files(places)

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
            places = listed_places(self.info.get(split))
            lists = [place for place in places if Path(place).is_file()]
            images = images_in_lists(lists)
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
        lists = [place for split in SPLITS for place in listed_places(self.info.get(split)) if Path(place).is_file()]
        relative = any(not Path(line).is_absolute() for place in lists for line in lines_of(place))
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
