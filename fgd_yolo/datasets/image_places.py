"""Where the images of a split are: folders, image lists and single files, as Ultralytics reads them."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

from ultralytics.data.base import BaseDataset

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.ultralytics import quiet_ultralytics


def listed_places(places: str | list[str] | None) -> list[str]:
    """Return the paths of a split as a list, without invalid values."""
    listed = places if isinstance(places, list) else [places]
    return [place for place in listed if isinstance(place, str) and place]


def image_files(places: list[str]) -> list[Path]:
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


def images_in_lists(lists: list[str]) -> list[Path]:
    """Return the absolute paths of the images in image lists; none if a list cannot be read or has no image."""
    try:
        return image_files(lists) if lists else []
    except FGDError:
        return []


def place_exists(place: str) -> bool:
    """Return whether a folder exists, or an image list and its first image."""
    return Path(place).is_dir() or (
        Path(place).is_file() and all(Path(image).is_file() for image in lines_of(place)[:1])
    )


def lines_of(file: str) -> list[str]:
    """Return the lines of an image list as text, with characters that are not UTF-8 replaced."""
    return Path(file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
