"""Data sets whose images are links to those of others, so that nothing is copied and no user's folder changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data.utils import img2label_paths

from fgd_yolo.files import atomic_path


def link_images(images: Sequence[Path], links: Sequence[Path], *, labels: bool = False) -> None:
    """Make links to images.

    Args:
        images: the images.
        links: the link to each, below a folder `images`; folders are created.
        labels: whether label files that exist are linked too, to where Ultralytics looks for those of the links.
    """
    _link(images, links)
    if labels:
        files = [[Path(file) for file in img2label_paths([str(path) for path in paths])] for paths in (images, links)]
        existing = [(file, link) for file, link in zip(*files, strict=True) if file.is_file()]
        _link(*([pair[side] for pair in existing] for side in (0, 1)))


def _link(files: Iterable[Path], links: Iterable[Path]) -> None:
    for file, link in zip(files, links, strict=True):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.absolute())


def write_data_yaml(file: Path, splits: Mapping[str, Any], options: Mapping[str, Any]) -> Path:
    """Write a data YAML whose root is its own folder, atomically, and return its path.

    Args:
        file: file to write.
        splits: images by the name of a split, relative to the folder or absolute.
        options: further entries, such as those of `Dataset.options`.
    """
    with atomic_path(file) as path:
        description = {"path": str(file.parent), **splits, **options}
        path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return file
