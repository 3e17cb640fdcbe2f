"""Pictures of a training while it runs: teacher's and student's attention on a few val images, every few epochs."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.training.distiller import Distiller

IMAGES = 3
FOLDER = "pictures"
_TENSORBOARD = "ultralytics.utils.callbacks.tensorboard"


def draw_if_due(trainer, every: int) -> None:
    """Write `pictures/epochNNN.png` into the student's folder every so many epochs, and after the last one.

    A callback of the trainer for each saved checkpoint: the student drawn is the one that was saved, the EMA. Nothing
    of the training is touched: no random number is drawn, the EMA is copied, and what goes wrong is a warning.

    Args:
        trainer: an FGDTrainer, after an epoch.
        every: epochs from one picture to the next; 0 draws none.
    """
    epoch = trainer.epoch + 1
    if not every or trainer.distiller is None or (epoch % every and not trainer.stop):
        return
    try:
        with preserve_random_state():
            picture = snapshot(
                trainer.distiller,
                unwrap_model(trainer.ema.ema),
                few_images(trainer.test_loader.dataset.labels),
                int(trainer.args.imgsz),
                f"epoch {epoch}",
            )
            write(picture, Path(trainer.save_dir) / FOLDER / f"epoch{epoch:03}.png", epoch)
    except Exception as error:  # a picture is no reason to lose a training
        LOGGER.warning(f"FGD: no picture of epoch {epoch}: {one_line(error)}")


def snapshot(
    distiller: Distiller, student: nn.Module, images: list[tuple[Path, Tensor]], side_px: int, name: str
) -> np.ndarray:
    """Draw what teacher and student attend to, one figure below the other.

    Args:
        distiller: with teacher, levels and alignments.
        student: is copied, neither run nor changed itself.
        images: files with their boxes (M, 4): x centre, y centre, width, height as fractions of the photo.
        side_px: of the network's input.
        name: of the student's state.

    Returns:
        (H, W, 3) RGB uint8.

    Raises:
        FGDError: the student reads other images than colour photos, or there is none.
    """
    # Only now: a training that draws nothing needs no matplotlib of ours.
    from fgd_yolo.attention.figure import draw_figure, explain_symbols, render
    from fgd_yolo.attention.labelled_images import LABELS, load_letterboxed
    from fgd_yolo.attention.level_attention import AttentionSettings, compare_levels
    from fgd_yolo.attention.models import neck_maps

    if student.yaml.get("channels", 3) != 3 or not images:
        raise FGDError("pictures are drawn of colour photos only, and there is none among the val images")
    student = deepcopy(student).float().eval()
    device = next(student.parameters()).device
    settings = AttentionSettings(distiller.config.temperature, distiller.config.scale)
    aligns = [loss.align for loss in distiller.losses] or [None] * len(distiller.levels)
    until = "when the features' terms ended" if distiller.features.share.over else "so far"
    aligned = f"through the alignments as trained {until}, where the teacher has another width"
    seen = aligned if distiller.losses else "as they are"
    note = f"{explain_symbols(settings)} The student is the EMA, its maps are seen {seen}."
    figures = []
    for path, boxes in images:
        image = load_letterboxed(path, boxes, LABELS, side_px)
        tensor = image.tensor.to(device)
        students = {f"student, {name}": neck_maps(student, tensor)[0]}
        levels = compare_levels(distiller.levels, distiller.teacher(tensor), students, image.boxes, settings, aligns)
        figures.append(render(draw_figure(image, levels, f"{image.name}, {name}", note)))
    return np.concatenate(figures)


def few_images(labels: list[dict]) -> list[tuple[Path, Tensor]]:
    """Choose images, the same ones at every epoch, evenly spread over those with boxes by name; return their boxes.

    Args:
        labels: of the host's dataset, with `im_file` and `bboxes` (M, 4) centre-size fractions.
    """
    by_name = sorted((label for label in labels if len(label["bboxes"])), key=lambda label: label["im_file"])
    picks = np.linspace(0, len(by_name) - 1, min(IMAGES, len(by_name))).round().astype(int)
    return [(Path(by_name[pick]["im_file"]), torch.from_numpy(by_name[pick]["bboxes"].copy())) for pick in picks]


def write(picture: np.ndarray, path: Path, epoch: int) -> None:
    """Write a picture as a file, and to TensorBoard where the host has that open.

    Args:
        picture: (H, W, 3) RGB uint8.
        path: of the file.
        epoch: TensorBoard's step.
    """
    from fgd_yolo.attention.figure import write_png

    write_png(path, picture)
    # Not imported: the host does so where it is switched on, and has no writer where TensorBoard is not installed.
    writer = getattr(sys.modules.get(_TENSORBOARD), "WRITER", None)
    if writer:
        writer.add_image("FGD/attention", picture, epoch, dataformats="HWC")
