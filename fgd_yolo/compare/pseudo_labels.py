"""Label the images without labels by a teacher once, before the training, as autodistill does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgd_yolo.compare.labelled_part import LabelledPart
from fgd_yolo.console import print_status
from fgd_yolo.datasets import link_images, read_dataset, write_data_yaml
from fgd_yolo.errors import FGDError
from fgd_yolo.files import sha256_of_file, sha256_of_json
from fgd_yolo.labelling import label_images, label_numbers, write_yolo
from fgd_yolo.train_arguments import ultralytics_defaults


def make_pseudo_labels(
    part: LabelledPart,
    teacher: Path,
    score: float,
    folder: Path,
    train: Mapping[str, Any],
    class_map: Mapping[str, str] | None = None,
) -> Path:
    """Label the images of a data set that have no labels, and return the YAML of all its train images.

    Convention:
        Objects with a score above `score` are labels like any other; their scores are not used further. The images
        that keep their labels have these. A label file that lies beside an unlabelled image is not opened.

    Args:
        part: the labelled part, and the images without labels.
        teacher: checkpoint of the teacher.
        score: score above which an object is a label.
        folder: parent folder of the labels; those that an earlier call has made from the same inputs are returned.
        train: train arguments of the student; images are shown to the teacher at its `imgsz`.
        class_map: class of the data by class of the teacher.

    Raises:
        FGDError: the teacher finds nothing on the images.
    """
    arguments = {**ultralytics_defaults(), **train}
    source = read_dataset(part.whole, recorded=True)
    images = [str(image) for image in part.unlabelled]
    inputs = [part.digest, images, sha256_of_file(teacher), score, arguments["imgsz"], class_map or {}, source.names]
    place = folder / sha256_of_json(inputs)[:16]
    file = place / f"pseudo-{part.whole.name}"
    if file.is_file():
        return file
    shutil.rmtree(place, ignore_errors=True)
    links = [place / "images" / f"{number:06}-{image.name}" for number, image in enumerate(part.unlabelled)]
    link_images(part.unlabelled, links)
    sizes = {"imgsz": arguments["imgsz"], "device": arguments["device"]}
    labels = label_images(teacher, links, names=source.names, class_map=class_map, min_score=score, **sizes)
    numbers = label_numbers(labels)
    print_status(f"pseudo labels with a score above {score:g}: {numbers.text(source.names)}")
    if not any(entry.objects for entry in labels):
        raise FGDError(
            f"the teacher {teacher.name} finds no object with a score above {score:g} on {len(links)} images without "
            "labels: lower the score (pseudo-labels:score=0.2), or train it for longer"
        )
    write_yolo(labels, place, source.names)
    splits = {key: source.info[key] for key in ("val", "test") if source.info.get(key)}
    lists = [str(place / "images"), *([str(part.folder / "once.txt")] if part.labelled else [])]
    return write_data_yaml(file, {"train": lists, **splits}, source.options)
