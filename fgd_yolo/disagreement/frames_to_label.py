"""Write frames as a data set, with the teacher's objects as a start for their labels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fgd_yolo.errors import FGDError
from fgd_yolo.frames.frame_folder import origin
from fgd_yolo.labelling import ImageLabels, write_coco, write_yolo

ANNOTATIONS = "annotations.json"


def write_frames(frames: Sequence[ImageLabels], folder: Path, names: Mapping[int, str], confident: float) -> list[Path]:
    """Write `images/`, `labels/`, `data.yaml` and `annotations.json`, and return the copies of the images.

    A copy is called `RANK-NAME`, by the name of its source, so that tools show the frames in their order, and no two
    have one name.

    Args:
        frames: what the teacher sees on the frames, in the order in which they should be labelled.
        folder: folder to write to.
        names: classes by number.
        confident: objects from this score are written.

    Raises:
        FGDError: a file cannot be read or written.
    """
    (folder / "images").mkdir()
    digits, labels = len(str(len(frames))), []
    for rank, frame in enumerate(frames, start=1):
        name = f"{rank:0{digits}}-{origin(frame.image).stem}{frame.image.suffix}"
        copy = folder / "images" / name
        try:
            shutil.copyfile(frame.image, copy)
        except OSError as error:
            raise FGDError(f"cannot copy {frame.image} to {copy}: {error.strerror or error}") from error
        objects = tuple(entry for entry in frame.objects if entry.score >= confident)
        labels.append(replace(frame, image=copy, objects=objects))
    write_yolo(labels, folder, names)
    write_coco(labels, folder / ANNOTATIONS, names)
    return [entry.image for entry in labels]
