"""A data set whose labels are a file's own detections, to measure how well its int8 copy agrees with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import yaml

from fgd_yolo.datasets import link_images
from fgd_yolo.errors import FGDError
from fgd_yolo.labelling.exported_labeller import ExportedLabeller
from fgd_yolo.labelling.yolo_files import write_yolo
from fgd_yolo.runtime.nms import DEFAULT_CONFIDENCE
from fgd_yolo.text import counted

MIN_SCORE = DEFAULT_CONFIDENCE
"""Detections above this score are labels: those that a detector returns where nothing else is asked for. A lower one
would count what no one sees, a higher one would not count the less certain objects, which int8 loses first."""
MIN_OBJECTS = 50
"""Fewer detections say too little about a file."""


class OwnDetections(NamedTuple):
    """A data set whose labels are the detections of a file.

    Args:
        data: data YAML; its val split has the images.
        images: number of images.
        objects: number of detections on them.
    """

    data: Path
    images: int
    objects: int


def label_with_detections(source: Path, images: Sequence[Path], folder: Path, channels: int = 3) -> OwnDetections:
    """Write a data set of links to images, and of the detections of a float32 file on them as their labels.

    Args:
        source: ONNX file of any task with Ultralytics' metadata.
        images: images; those that cannot be read are left out.
        folder: empty folder to write to.
        channels: number of channels that the file takes.
    Raises:
        FGDError: the file detects fewer than `MIN_OBJECTS` objects on the images, so that nothing can be measured.
        OSError: the folder cannot be written.
    """
    with redirect_stderr(StringIO()):  # it prints its device
        labeller = ExportedLabeller(source, min_score=MIN_SCORE, device="cpu")
    links = [folder / "images" / f"{number:06}{image.suffix}" for number, image in enumerate(images)]
    link_images(images, links)
    labels = labeller(links, "detecting with fp32")
    objects = sum(len(found.objects) for found in labels)
    if objects < MIN_OBJECTS:
        frames = counted(len(labels), "held-out frame")
        raise FGDError(
            f"float32 itself finds only {objects} objects on {frames}, so the agreement of int8 with it cannot be "
            f"measured (at least {MIN_OBJECTS}): pass more frames, or such with objects, to calibrate= (--calibrate)"
        )
    data = write_yolo(labels, folder, labeller.names)
    description = yaml.safe_load(data.read_text(encoding="utf-8"))
    data.write_text(yaml.safe_dump({**description, "channels": channels}), encoding="utf-8")
    return OwnDetections(data, len(labels), objects)
