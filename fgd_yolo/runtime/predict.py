"""Detect on files, one after another, and keep what is found: drawn copies, lines of JSON, a summary."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from fgd_yolo.console import progress
from fgd_yolo.errors import FGDError
from fgd_yolo.files import atomic_path, numbered_folder, remove_leftovers
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import printable

FEW = 20  # up to so many pictures get a line each, more get a progress bar
_WRITTEN_AS_THEY_ARE = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass
class Tally:
    """What came of a run; as text, its closing line."""

    images: int = 0
    unreadable: list[Path] = field(default_factory=list)
    why: dict[Path, str] = field(default_factory=dict)  # of the first that says more than that it is unreadable
    objects: Counter[str] = field(default_factory=Counter)
    not_finite: int = 0
    seconds: float = 0.0
    places: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [_count(self.images, "picture")]
        if self.unreadable:
            first = [*self.why, *(path for path in self.unreadable if path not in self.why)][:3]
            names = ", ".join(f"{_shown(path)}{self.why.get(path, '')}" for path in first)
            more = ", ..." if len(self.unreadable) > 3 else ""
            parts.append(f"{len(self.unreadable)} unreadable and skipped ({names}{more})")
        if self.images:
            parts += [_in_words(self.objects), f"{1000 * self.seconds / self.images:.1f} ms a picture"]
        if self.not_finite:
            parts.append(f"{_count(self.not_finite, 'object')} with numbers that are not finite left out")
        if self.places:
            parts.append(f"results in {' and '.join(_shown(place) for place in self.places)}")
        return "; ".join(parts)


class Results:
    """Where results go. Nothing is made before the first of them.

    Args:
        folder: of the drawn copies; None draws none.
        numbered: where the folder exists, make `FOLDER-2`, ... instead of writing to it.
        lines: open file for a line of JSON a picture, or None.
    """

    def __init__(self, folder: Path | None, numbered: bool, lines: TextIO | None):
        self._wanted, self._numbered, self._lines = folder, numbered, lines

    @cached_property
    def folder(self) -> Path | None:
        """The folder of the drawn copies."""
        wanted = self._wanted
        return numbered_folder(wanted) if wanted and self._numbered else wanted

    def add(self, path: Path, name: Path, image: np.ndarray, found: Detections) -> None:
        """Draw on a copy of a picture and write its line."""
        if self.folder:
            write_picture(found.draw(image), self.folder / name)
        if self._lines:
            self._lines.write(to_json({"path": str(path), **found.to_dict()}) + "\n")


def predict(
    detector: OnnxDetector,
    images: Sequence[Path],
    folder: Path | None = None,
    *,
    numbered: bool = False,
    json_path: Path | None = None,
    budget: PixelBudget | None = None,
) -> Tally:
    """Detect on files and write the results. A file that cannot be read is skipped and counted.

    Args:
        detector: open.
        images: files.
        folder: of the drawn copies; None draws none.
        numbered: where the folder exists, make `FOLDER-2`, ... instead of writing to it.
        json_path: file to write, a line for each picture: its path and `Detections.to_dict`. It appears when all is
            done.
        budget: how large a picture may be; a larger one is not decoded but skipped. The default one if absent.
    Raises:
        FGDError: no file could be read, or a result cannot be written.
        KeyboardInterrupt: stopped; says what is there.
    """
    tally, budget = Tally(), budget or PixelBudget()
    with ExitStack() as stack:
        lines = stack.enter_context(_new_text(json_path)) if json_path else None
        results = Results(folder, numbered, lines)
        try:
            work = list(zip(images, targets(images), strict=True))
            for path, name in work if len(work) <= FEW else progress(work, "detecting"):
                said = _detect(detector, path, name, budget, results, tally)
                if len(images) <= FEW:
                    print(f"{_shown(path)}: {said}", flush=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped: {tally}") from None
        except BrokenPipeError:  # of print: `| head` has seen enough
            raise FGDError(f"nobody reads the output any more; {tally}") from None
        if not tally.images:
            path, why = next(iter(tally.why.items()), (images[0], ""))
            raise FGDError(f"of {_count(len(images), 'file')} none is a picture that can be read, such as {path}{why}")
    tally.places += [json_path] if json_path else []
    return tally


def _detect(detector: OnnxDetector, path: Path, name: Path, budget: PixelBudget, results: Results, tally: Tally) -> str:
    """Detect on one file, keep what is found, and return it in words."""
    try:
        with _silent_stderr():
            image = load_image(path, budget)
    except (UnreadableImageError, ImageTooLargeError) as error:
        tally.unreadable.append(path)
        if failure_detail(error) and not tally.why:
            tally.why[path] = failure_detail(error)
        return f"{error}, skipped"
    not_finite, start = detector.not_finite, time.perf_counter()
    found = detector(image)
    seconds = time.perf_counter() - start
    tally.not_finite += detector.not_finite - not_finite
    results.add(path, name, image, found)
    if results.folder and not tally.places:
        tally.places.append(results.folder)
    tally.images += 1
    tally.seconds += seconds
    objects = Counter(found.names.get(int(label), f"class {label}") for label in found.classes)
    tally.objects += objects
    return f"{_in_words(objects)} ({1000 * seconds:.1f} ms)"


def targets(images: Sequence[Path]) -> list[Path]:
    """Return a path for each picture's drawn copy, relative to the folder of results, no two the same.

    Copies keep their names. Where two have one name, all keep the folders below the one that holds every picture. A
    format that OpenCV does not write becomes `NAME.SUFFIX.jpg`, with another `.jpg` where that is a picture's name.
    """
    names = [Path(path.name) for path in images]
    if len(set(map(_written, names))) < len(names):
        # Without `..`, which would lead out of the folder of results.
        whole = [Path(os.path.normpath(path.absolute())) for path in images]
        above = os.path.commonpath([path.parent for path in whole])
        names = [path.relative_to(above) for path in whole]
    written: dict[str, None] = {}
    for name in map(_written, names):
        while name in written:
            name += ".jpg"
        written[name] = None
    return [Path(name) for name in written]


def _written(name: Path) -> str:
    return str(name) if name.suffix.lower() in _WRITTEN_AS_THEY_ARE else f"{name}.jpg"


def write_picture(image: np.ndarray, path: Path) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all.

    Raises:
        FGDError: it cannot be written.
    """
    try:
        _, data = cv2.imencode(path.suffix, image)
    except cv2.error as error:
        height, width = image.shape[:2]
        raise FGDError(f"{path} cannot be written: {width} x {height} px is too much for {path.suffix}") from error
    with atomic_path(path) as partial:
        partial.write_bytes(data.tobytes())


@contextmanager
def _new_text(path: Path) -> Iterator[TextIO]:
    # Resolved, since a file that takes a link's place would leave what it points to as it was.
    remove_leftovers(path.resolve().parent)
    with atomic_path(path.resolve()) as partial, partial.open("w", encoding="utf-8") as stream:
        yield stream


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what C code writes: libpng and libjpeg tell of every broken file, past Python and past OpenCV's log."""
    if sys.stderr is None:  # closed when the process started
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _in_words(objects: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in objects.most_common()) or "no objects"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shown(path: Path) -> str:
    # A name that is no UTF-8 cannot be printed as it is.
    return printable(os.fsencode(path).decode("utf-8", "replace"))
