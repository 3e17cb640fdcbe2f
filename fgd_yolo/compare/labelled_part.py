"""Keep the labels of a part of the train images, chosen by the seed; the others are frames without labels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ultralytics.data.utils import img2label_paths

from fgd_yolo.datasets import SPLITS, TRAIN_LABELS, Dataset, link_images, read_dataset, write_data_yaml
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path


def labelled_names(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """Return the names of the train images that keep their labels.

    Convention:
        Names are sorted by the SHA-256 of the UTF-8 bytes of `SEED:NAME`, such as `0:cell-17.jpg`, in hexadecimal; the
        first round(fraction * count) are chosen. The choice depends on nothing but names and seed, and that of a
        larger fraction contains that of a smaller one.

    Args:
        names: file names of the train images, without folders.
        fraction: fraction of the names that keep their labels, in [0, 1].
        seed: seed of the runs.
    """
    ordered = sorted(names, key=lambda name: sha256(f"{seed}:{name}".encode()).hexdigest())
    return set(ordered[: round(fraction * len(ordered))])


@dataclass(frozen=True)
class LabelledPart:
    """A data set of which a part of the train images has labels, or none; val is the same in all its YAMLs.

    Args:
        folder: folder of all files.
        repeated: YAML whose train images are the labelled ones, repeated to as many as the whole train split has.
        once: YAML whose train images are the labelled ones, each once. If none keeps its labels, the train images of
            both are all of them, without labels (`train_labels`).
        whole: YAML of all train images with their labels, for a comparison with the case that nothing is missing.
        labelled: train images that keep their labels, in Ultralytics' order.
        unlabelled: the other train images.
        digest: SHA-256 of the paths of the labelled images within the train split, shortened.
        absent: classes without an object in the labelled images.
        unlabelled_list: list file of the unlabelled images.
    """

    folder: Path
    repeated: Path
    once: Path
    whole: Path
    labelled: tuple[Path, ...]
    unlabelled: tuple[Path, ...]
    digest: str
    absent: tuple[str, ...]
    unlabelled_list: Path


def make_labelled_part(
    data: str, fraction: float, seed: int, folder: Path, *, allow_download: bool = False
) -> LabelledPart:
    """Create the data sets of a comparison with few labels, from the train split of a data set.

    Images and labels are links to the originals under their own relative paths, so that the caches of labels, which
    Ultralytics writes beside the labels, are in `folder`, and the digest of a split does not depend on the folder.

    Args:
        data: dataset YAML, or a name that Ultralytics knows.
        fraction: fraction of the train images that keep their labels; 0 for none.
        seed: seed that decides which.
        folder: folder of the new data sets; its contents are replaced.
        allow_download: run the download script of the data, or download it from its URL, if needed.

    Raises:
        FGDError: the data cannot be read, or no train image would have labels, or all would.
    """
    source = read_dataset(data, split="train", allow_download=allow_download)
    images = source.images("train")
    chosen = labelled_names((image.name for image in images), fraction, seed)
    labelled = [image for image in images if image.name in chosen]
    unlabelled = [image for image in images if image.name not in chosen]
    if not unlabelled or (fraction and not labelled):
        none = "labelled" if not labelled else "unlabelled"
        raise FGDError(f"--label-fraction {fraction:g} of {len(images)} train images leaves no {none} image")
    shutil.rmtree(folder, ignore_errors=True)
    root = _common(images)
    links = {"labelled": _link(labelled, folder, "labelled", root), "whole": _link(images, folder, "train", root)}
    splits = _link_other_splits(source, folder)
    if labelled:
        kept = links["labelled"]
        trained = {"once": kept, "repeated": [kept[number % len(kept)] for number in range(len(images))]}
    else:
        trained = dict.fromkeys(("once", "repeated"), _link(images, folder, "frames", root, labels=False))
    files = {name: _write_list(folder / f"{name}.txt", paths) for name, paths in trained.items()}
    # The trainer takes this key as the sign that no train image has labels; those of val are true here.
    no_labels = {} if labelled else {TRAIN_LABELS: False}
    yamls = {name: {"train": str(file), **splits, **no_labels} for name, file in files.items()}
    yamls["whole"] = {"train": str(folder / "images" / "train"), **splits}
    return LabelledPart(
        folder=folder,
        **{
            name: write_data_yaml(folder / name / f"{source.file.stem}.yaml", yamls[name], source.options)
            for name in yamls
        },
        labelled=tuple(labelled),
        unlabelled=tuple(unlabelled),
        digest=sha256("\n".join(sorted(_relative(image, root) for image in labelled)).encode()).hexdigest()[:16],
        absent=_absent_classes(labelled, source.names) if labelled else (),
        unlabelled_list=_write_list(folder / "unlabelled.txt", unlabelled),
    )


def _common(images: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([image.parent for image in images]))


def _relative(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix()


def _link(
    images: Sequence[Path], folder: Path, split: str, root: Path | None = None, *, labels: bool = True
) -> list[Path]:
    """Link images, and labels unless they are to be left out, and return the links."""
    links = [folder / "images" / split / _relative(image, root or _common(images)) for image in images]
    link_images(images, links, labels=labels)
    return links


def _link_other_splits(source: Dataset, folder: Path) -> dict[str, str]:
    """Link the images of all splits but train that exist, and return their folders."""
    splits = {}
    for split in SPLITS[1:]:
        if source.info.get(split):
            try:
                images = source.images(split)
            except FGDError:
                if split == "val":
                    raise
                continue  # another split is not needed
            _link(images, folder, split)
            splits[split] = str(folder / "images" / split)
    return splits


def _write_list(file: Path, images: Sequence[Path]) -> Path:
    with atomic_path(file) as path:
        path.write_text("".join(f"{image}\n" for image in images), encoding="utf-8")
    return file


def _absent_classes(images: Sequence[Path], names: Mapping[int, str]) -> tuple[str, ...]:
    """Return the names of the classes without an object in the label files of images."""
    found = set()
    for label in map(Path, img2label_paths([str(image) for image in images])):
        try:
            lines = label.read_text(encoding="utf-8-sig").splitlines() if label.is_file() else []
        except (OSError, ValueError) as error:
            raise FGDError(f"{label} cannot be read: {one_line(error)}") from error
        found |= {line.split()[0] for line in lines if line.strip()}
    return tuple(name for number, name in names.items() if not {str(number), f"{number}.0"} & found)
