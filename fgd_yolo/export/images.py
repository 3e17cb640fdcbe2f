"""The real images that an exported file is compared on, prepared as the host prepares them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ultralytics.data.augment import LetterBox
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset

from fgd_yolo.errors import FGDError

COMPARED_IMAGES = 8


def load_inputs(
    size: int, *, data: str | Path | None, recorded: Any, files: Iterable[str | Path] | None
) -> list[np.ndarray]:
    """Return network inputs made from real images.

    Convention:
        Letterboxed to a square: scaled by one factor, centred, padded with grey 114; RGB, channels first.
    Args:
        size: side of the square, in pixels.
        data: dataset YAML given by the user; its val split is read.
        recorded: what the checkpoint says it was trained on, used when neither of the others is given.
        files: image files, taken as they are.
    Returns:
        Arrays (3, size, size) in [0, 1], at most eight from a dataset, spread over its val split.
    Raises:
        FGDError: there is no image that can be read.
    """
    paths = [Path(file) for file in files] if files is not None else _spread(_val_images(data, recorded))
    images = [cv2.imread(str(path)) for path in paths]
    letterbox = LetterBox((size, size))
    inputs = [_to_input(letterbox(image=image)) for image in images if image is not None]
    if not inputs:
        first = f", {paths[0]} for one" if paths else ""
        raise FGDError(f"none of the {len(paths)} images to compare on can be read{first}")
    return inputs


def _to_input(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1), dtype=np.float32) / 255


def _spread(paths: list[Path]) -> list[Path]:
    """Return at most `COMPARED_IMAGES` of the paths, evenly spaced."""
    picks = np.linspace(0, len(paths) - 1, min(COMPARED_IMAGES, len(paths))).round().astype(int)
    return [paths[pick] for pick in picks]


def _val_images(data: str | Path | None, recorded: Any) -> list[Path]:
    given = data if data is not None else recorded
    problem = "no real images to compare the export on"
    advice = "pass data= (--data) with a dataset YAML whose val images are on this disk"
    # A checkpoint may name a URL or an archive; comparing must not download or unpack anything.
    is_yaml = isinstance(given, (str, Path)) and Path(given).suffix in {".yaml", ".yml"}
    if not is_yaml or "://" in str(given):
        raise FGDError(f"{problem}: '{given}' is not a dataset YAML on this disk; {advice}")
    try:
        split = check_det_dataset(str(given), autodownload=False)["val"]
    except Exception as error:  # the host raises anything from SyntaxError to FileNotFoundError here
        reason = " ".join(str(error).split())[:200]
        raise FGDError(f"{problem}: {reason}; {advice}") from error
    entries = [Path(entry) for entry in (split if isinstance(split, list) else [split])]
    paths = [path for entry in entries for path in _list_images(entry)]
    if not paths:
        raise FGDError(f"{problem}: the val split of {given} is empty; {advice}")
    return paths


def _list_images(entry: Path) -> list[Path]:
    """Return the images below a folder, or those that a text file names, one a line."""
    if entry.is_dir():
        return sorted(path for path in entry.rglob("*") if path.suffix[1:].lower() in IMG_FORMATS)
    return [entry.parent / line for line in entry.read_text(encoding="utf-8").split("\n") if line.strip()]
