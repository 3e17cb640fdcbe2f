"""Detect on image files one by one, and write annotated copies, lines of JSON and a summary."""

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
from fgd_yolo.json_message import json_message
from fgd_yolo.runtime.detections import Detections
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.images import UnreadableImageError, failure_detail, load_image
from fgd_yolo.runtime.pixel_budget import ImageTooLargeError, PixelBudget
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import printable

MAX_PRINTED_IMAGES = 20
"""Up to this many images are printed one per line; for more there is a progress bar."""
_WRITABLE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass
class PredictSummary:
    """The outcome of a run; as text, its last line.

    Args:
        images: number of images that were detected on.
        unreadable: the files that were skipped.
        details: why one of them was skipped, for the first file with such a reason.
        objects: number of objects of each class.
        non_finite: number of objects that were dropped for non-finite values.
        seconds: total time of the detector.
        outputs: the files and folders that were written.
    """

    images: int = 0
    unreadable: list[Path] = field(default_factory=list)
    details: dict[Path, str] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    non_finite: int = 0
    seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [_count(self.images, "image")]
        if self.unreadable:
            first = [*self.details, *(path for path in self.unreadable if path not in self.details)][:3]
            names = ", ".join(f"{_printable_path(path)}{self.details.get(path, '')}" for path in first)
            more = ", ..." if len(self.unreadable) > 3 else ""
            parts.append(f"{_count(len(self.unreadable), 'unreadable file')} skipped ({names}{more})")
        if self.images:
            parts += [_list_objects(self.objects), f"{1000 * self.seconds / self.images:.1f} ms per image"]
        if self.non_finite:
            parts.append(f"{_count(self.non_finite, 'object')} with non-finite values dropped")
        if self.outputs:
            parts.append(f"results in {' and '.join(_printable_path(path) for path in self.outputs)}")
        return "; ".join(parts)


class ResultWriter:
    """Writes annotated copies and lines of JSON. Creates no folder before the first result.

    Args:
        folder: for the annotated copies, or `FOLDER-2`, ... if it exists; None writes none.
        json_file: open file for one line of JSON per image, or None.
    """

    def __init__(self, folder: Path | None, json_file: TextIO | None):
        self._requested_folder, self._json_file = folder, json_file

    @cached_property
    def folder(self) -> Path | None:
        """The folder of the annotated copies."""
        return numbered_folder(self._requested_folder) if self._requested_folder else None

    def write(self, path: Path, name: Path, image: np.ndarray, detections: Detections) -> None:
        """Write the annotated copy of an image under a name in the folder, and its line of JSON."""
        if self.folder:
            write_image(detections.draw(image), self.folder / name)
        if self._json_file:
            self._json_file.write(to_json(json_message("image", {"path": str(path), **detections.to_dict()})) + "\n")


def predict(
    detector: OnnxDetector,
    images: Sequence[Path],
    folder: Path | None = None,
    *,
    json_path: Path | None = None,
    budget: PixelBudget | None = None,
) -> PredictSummary:
    """Detect on image files and write the results. Unreadable files are skipped and counted.

    Args:
        detector: the open detector.
        images: paths of the files.
        folder: for the annotated copies, or `FOLDER-2`, ... if it exists; None writes none.
        json_path: file for one JSON message of kind `image` per image and line. It appears when the run is complete.
        budget: limit of the size of an image; a larger one is skipped without being decoded. None uses the default.
    Raises:
        FGDError: no file could be read, or a result cannot be written.
        KeyboardInterrupt: the run was stopped; the message has the summary so far.
    """
    summary, budget = PredictSummary(), budget or PixelBudget()
    with ExitStack() as stack:
        json_file = stack.enter_context(_new_text_file(json_path)) if json_path else None
        writer = ResultWriter(folder, json_file)
        try:
            jobs = list(zip(images, output_names(images), strict=True))
            for path, name in jobs if len(jobs) <= MAX_PRINTED_IMAGES else progress(jobs, "detecting"):
                text = _detect(detector, path, name, budget, writer, summary)
                if len(images) <= MAX_PRINTED_IMAGES:
                    print(f"{_printable_path(path)}: {text}", flush=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped: {summary}") from None
        except BrokenPipeError:  # of print: the output was piped to `head`, which has ended
            raise FGDError(f"the output pipe was closed; {summary}") from None
        if not summary.images:
            path, detail = next(iter(summary.details.items()), (images[0], ""))
            raise FGDError(f"no readable image in {_count(len(images), 'file')}, such as {path}{detail}")
    summary.outputs += [json_path] if json_path else []
    return summary


def _detect(
    detector: OnnxDetector, path: Path, name: Path, budget: PixelBudget, writer: ResultWriter, summary: PredictSummary
) -> str:
    """Detect on one file, write the result, add it to the summary, and return it as text."""
    try:
        with _silent_stderr():
            image = load_image(path, budget, detector.info.channels)
    except (UnreadableImageError, ImageTooLargeError) as error:
        summary.unreadable.append(path)
        if failure_detail(error) and not summary.details:
            summary.details[path] = failure_detail(error)
        return f"{error}, skipped"
    non_finite, start = detector.non_finite, time.perf_counter()
    detections = detector(image)
    seconds = time.perf_counter() - start
    summary.non_finite += detector.non_finite - non_finite
    writer.write(path, name, image, detections)
    if writer.folder and not summary.outputs:
        summary.outputs.append(writer.folder)
    summary.images += 1
    summary.seconds += seconds
    objects = Counter(detections.class_names)
    summary.objects += objects
    return f"{_list_objects(objects)} ({1000 * seconds:.1f} ms)"


def output_names(images: Sequence[Path]) -> list[Path]:
    """Return unique names for the annotated copies of images, relative to the output folder.

    Copies keep the names of the images. If two names are equal, all copies keep the folders below the common parent of
    all images. A format that OpenCV does not write becomes `NAME.SUFFIX.jpg`, with `.jpg` appended until it is unique.
    """
    names = [Path(path.name) for path in images]
    if len(set(map(_writable_name, names))) < len(names):
        # Normalized, since `..` would lead out of the output folder.
        absolute = [Path(os.path.normpath(path.absolute())) for path in images]
        parent = os.path.commonpath([path.parent for path in absolute])
        names = [path.relative_to(parent) for path in absolute]
    unique: dict[str, None] = {}
    for name in map(_writable_name, names):
        while name in unique:
            name += ".jpg"
        unique[name] = None
    return [Path(name) for name in unique]


def _writable_name(name: Path) -> str:
    return str(name) if name.suffix.lower() in _WRITABLE_SUFFIXES else f"{name}.jpg"


def write_image(image: np.ndarray, path: Path) -> None:
    """Write an image atomically, in the format of the path's suffix.

    Raises:
        FGDError: the image cannot be written.
    """
    try:
        _, data = cv2.imencode(path.suffix, image)
    except cv2.error as error:
        height, width = image.shape[:2]
        raise FGDError(f"{path} cannot be written: {width} x {height} px are too many for {path.suffix}") from error
    with atomic_path(path) as partial:
        partial.write_bytes(data.tobytes())


@contextmanager
def _new_text_file(path: Path) -> Iterator[TextIO]:
    # Resolved, so that the target of a link is replaced and not the link.
    remove_leftovers(path.resolve().parent)
    with atomic_path(path.resolve()) as partial, partial.open("w", encoding="utf-8") as stream:
        yield stream


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what C libraries print: libpng and libjpeg report broken files past Python and OpenCV's log."""
    if sys.stderr is None:  # closed when the process started
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _list_objects(objects: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in objects.most_common()) or "no objects"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _printable_path(path: Path) -> str:
    # A name that is not UTF-8 cannot be printed unchanged.
    return printable(os.fsencode(path).decode("utf-8", "replace"))
