"""The whole job: from a subject to one figure for each image, a table, and the numbers as files."""

from __future__ import annotations

from pathlib import Path

import torch
from ultralytics.utils.torch_utils import select_device

from fgd_yolo.attention.figure import draw_views, explanation, pixels, write_png
from fgd_yolo.attention.gaps import gaps_of, mean_gaps, table, write_gaps
from fgd_yolo.attention.models import AFTER, BEFORE, Models, load_models, neck_maps
from fgd_yolo.attention.photos import (
    DETECTIONS,
    LABELS,
    Photo,
    detected_boxes,
    find_images,
    labelled_boxes,
    letterboxed,
)
from fgd_yolo.attention.views import Lens, LevelView, view_levels
from fgd_yolo.console import display_path, progress
from fgd_yolo.errors import FGDError, UsageError, one_line
from fgd_yolo.files import numbered_folder
from fgd_yolo.text import printable
from fgd_yolo.workflow.visualize_subject import Subject, student_start


def visualize(subject: Subject, *, count: int = 8, output: Path | None = None, device: str | None = None) -> Path:
    """Draw what teacher and student attend to, print how far they are apart, and return the folder of it all.

    An image that cannot be used is named and left out.

    Args:
        subject: complete.
        count: images to look at, the first ones.
        output: folder, made if it is missing; None is `runs/visualize/NAME`, numbered.
        device: cpu, 0, ...; None is the first GPU, or else the CPU.

    Raises:
        UsageError: an unknown device, or no image.
        FGDError: a model that cannot be used, or not one image that can.
    """
    images = find_images(list(subject.sources))
    before = subject.before or student_start(subject.recipe, subject.after)
    models = load_models(subject.teacher, before, subject.after, _device(device))
    side_px = _canvas_side(subject, models)
    print(f"{min(count, len(images))} of {len(images)} images at {side_px} px. {models.seen}", flush=True)
    gaps, folder, drawn = [], output, 0
    failure: FGDError | None = None
    try:
        for number, image in enumerate(progress(images[:count], "drawing"), start=1):
            try:
                photo, views = look_at(image, models, side_px, subject.lens)
            except FGDError as error:
                print(f"left out: {one_line(error)}", flush=True)
                failure = error
                continue
            drawn += 1
            gaps += gaps_of(photo.name, views, BEFORE, AFTER)
            title = f"{photo.name}: what teacher and student attend to"
            picture = pixels(draw_views(photo, views, title, _note(subject, models)))
            # Made only now: what fails at once leaves no folder.
            folder = folder or numbered_folder(Path("runs/visualize") / subject.after.absolute().parent.name)
            write_png(folder / f"{number:02}-{image.stem}.png", picture)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; what was drawn is in {display_path(folder)}" if folder else "") from None
    if not drawn:
        raise failure
    facts = {
        "images": drawn,
        "imgsz": side_px,
        **subject.lens._asdict(),
        "seen": models.seen,
    }
    write_gaps(folder, gaps, facts)
    where = printable(display_path(folder))
    print(f"\n{table(mean_gaps(gaps), facts['images'])}\n\npictures, gaps.csv and gaps.json in {where}")
    return folder


def look_at(image: Path, models: Models, side_px: int, lens: Lens) -> tuple[Photo, list[LevelView]]:
    """Run all models on an image and return it with what they attend to.

    Args:
        image: its label file gives the boxes; where there is none, the teacher does.
        models: on one device.
        side_px: of the canvas.
        lens: how attention is taken.
    """
    boxes = labelled_boxes(image)
    photo = letterboxed(image, torch.zeros(0, 4) if boxes is None else boxes, LABELS, side_px)
    tensor = photo.tensor.to(next(models.teacher.parameters()).device)
    teacher_maps, outputs = neck_maps(models.teacher, tensor)
    if boxes is None:
        photo = photo._replace(boxes=detected_boxes(outputs, side_px), boxes_from=DETECTIONS)
    student_maps = {name: neck_maps(model, tensor)[0] for name, model in models.students.items()}
    return photo, view_levels(models.levels, teacher_maps, student_maps, photo.boxes, lens, models.aligns)


def _note(subject: Subject, models: Models) -> str:
    start = " 'before' is the student's start." if subject.before is None else ""
    return f"{explanation(subject.lens)} {models.seen}{start}"


def _canvas_side(subject: Subject, models: Models) -> int:
    wanted = int(subject.imgsz or models.students[AFTER].args["imgsz"])
    side_px = -(-wanted // models.stride) * models.stride
    if side_px != wanted:
        print(f"imgsz {wanted} is not a multiple of {models.stride}, the largest stride: {side_px} is used", flush=True)
    return side_px


def _device(name: str | None) -> torch.device:
    try:
        return select_device(name or "", verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name} cannot be used: {one_line(error)}") from error
