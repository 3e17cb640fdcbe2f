"""Attention plots during a training: teacher's and student's attention on a few val images, every few epochs."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from fgd_yolo.attention.image_objects import ImageObjects
from fgd_yolo.config import METHOD_OPTIONS
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.methods.attention_maps import AttentionSettings
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.task_table import YoloTask, image_channels, task_of_model
from fgd_yolo.training.step.distiller import Distiller
from fgd_yolo.training.teachers.teacher import on_grid

IMAGES = 3
FOLDER = "attention"
_TENSORBOARD = "ultralytics.utils.callbacks.tensorboard"


def plot_if_due(trainer, every: int) -> None:
    """Write `attention/epochNNN.png` into the student's folder every `every` epochs, and after the last one.

    A trainer callback for each saved checkpoint. It plots the student that was saved, the EMA. The training is not
    affected: no random number is drawn, the EMA is copied, and a failure is a warning.

    Args:
        trainer: an FGDTrainer, after an epoch.
        every: epochs between two plots; 0 disables plots.
    """
    epoch = trainer.epoch + 1
    if not every or trainer.distiller is None or (epoch % every and not trainer.stop):
        return
    try:
        with preserve_random_state():
            plot = plot_attention(
                trainer.distiller,
                unwrap_model(trainer.ema.ema),
                choose_images(trainer.test_loader.dataset.labels, trainer.task),
                int(trainer.args.imgsz),
                f"epoch {epoch}",
                teacher_px=trainer.distiller.config.teacher_imgsz,
            )
            write_plot(plot, Path(trainer.save_dir) / FOLDER / f"epoch{epoch:03}.png", epoch)
    except Exception as error:  # a failed plot must not stop a training
        LOGGER.warning(f"FGD: no attention plot of epoch {epoch}: {one_line(error)}")


def plot_attention(
    distiller: Distiller,
    student: nn.Module,
    images: list[tuple[Path, ImageObjects]],
    side_px: int,
    name: str,
    teacher_px: int = 0,
) -> np.ndarray:
    """Plot the attention of teacher and student, one figure per image, stacked vertically.

    Args:
        distiller: provides the teacher, the levels and the alignments.
        student: the model to plot; a copy of it is run.
        images: image files with their objects, as fractions of the image.
        side_px: side of the network's input, in pixels.
        name: label of the student's state, such as its epoch.
        teacher_px: side of the teacher's input; 0 for the student's.

    Returns:
        (H, W, 3) RGB uint8.

    Raises:
        FGDError: there is no image, or one cannot be read.
    """
    # Imported here: a training without plots does not need matplotlib.
    from fgd_yolo.attention.figure import draw_figure, explain_symbols, render
    from fgd_yolo.attention.labelled_images import LABELS, load_letterboxed
    from fgd_yolo.attention.level_attention import compare_levels
    from fgd_yolo.attention.models import neck_maps

    if not images:
        raise FGDError("only images with boxes are plotted, and the val images include none")
    student = deepcopy(student).float().eval()
    device = next(student.parameters()).device
    task = task_of_model(student)
    settings = AttentionSettings.of(distiller.config.features)
    aligns = [loss.align for loss in distiller.losses] or [None] * len(distiller.levels)
    until = "until the feature terms ended" if distiller.features.ratio.ended else "so far"
    aligned = f"aligned to the teacher's width if it differs, by convolutions trained {until}"
    maps = aligned if distiller.losses else "not aligned"
    labels = " and ".join(METHOD_OPTIONS[method].label for method in distiller.config.weighted_methods)
    note = f"{explain_symbols(settings)} The student is the EMA, distilled with {labels}; its maps are {maps}."
    figures = []
    for path, objects in images:
        image = load_letterboxed(path, objects, LABELS, side_px, image_channels(student.yaml), task)
        tensor = image.tensor.to(device)
        student_maps = neck_maps(student, tensor)[0]
        students = {f"student, {name}": student_maps}
        if teacher_px not in (0, side_px):
            larger = load_letterboxed(path, objects, LABELS, teacher_px, image_channels(student.yaml), task)
            tensor = larger.tensor.to(device)
        own_maps = distiller.feature_teacher.frozen(tensor)
        teacher_maps = {
            level.teacher_index: on_grid(level, own_maps, tuple(student_maps[level.student_index].shape[2:]))
            for level in distiller.levels
        }
        levels = compare_levels(distiller.levels, teacher_maps, students, image.foreground, settings, aligns)
        figures.append(render(draw_figure(image, levels, f"{image.name}, {name}", note)))
    return np.concatenate(figures)


def choose_images(labels: list[dict], task: YoloTask) -> list[tuple[Path, ImageObjects]]:
    """Choose images with boxes, evenly spread over the sorted file names, so the same ones at every epoch.

    Args:
        labels: labels of Ultralytics' dataset, with `im_file`, `bboxes` (M, 4) centre-size fractions, and `segments`,
            polygons (N, 2) as fractions.
        task: task of the student, whose foreground is drawn.

    Returns:
        Each image file with its objects.
    """
    by_name = sorted((label for label in labels if len(label["bboxes"])), key=lambda label: label["im_file"])
    picks = np.linspace(0, len(by_name) - 1, min(IMAGES, len(by_name))).round().astype(int)
    return [(Path(by_name[pick]["im_file"]), _objects(by_name[pick], task)) for pick in picks]


def _objects(label: dict, task: YoloTask) -> ImageObjects:
    if task.foreground is None:
        return ImageObjects(torch.from_numpy(label["bboxes"].copy()))
    return ImageObjects.of_outlines([torch.from_numpy(polygon.copy()) for polygon in label["segments"]])


def write_plot(plot: np.ndarray, path: Path, epoch: int) -> None:
    """Write a plot to a file, and to TensorBoard if Ultralytics has it open.

    Args:
        plot: (H, W, 3) RGB uint8.
        path: PNG file to write.
        epoch: step of the image in TensorBoard.
    """
    from fgd_yolo.attention.figure import write_png

    write_png(path, plot)
    # Not imported here: Ultralytics imports this callback only if TensorBoard is enabled.
    writer = getattr(sys.modules.get(_TENSORBOARD), "WRITER", None)
    if writer:
        writer.add_image("FGD/attention", plot, epoch, dataformats="HWC")
