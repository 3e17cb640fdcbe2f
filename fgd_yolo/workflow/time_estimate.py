"""Estimate the duration of a training before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ultralytics.cfg import get_cfg
from ultralytics.utils import DEFAULT_CFG

from fgd_yolo.datasets import Dataset, first_batch
from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.timing import best_time
from fgd_yolo.ultralytics import find_device, load_model, read_architecture, round_imgsz
from fgd_yolo.workflow.resolve import Model

_STEPS = 2
_CPU_IMAGES = 2  # on a CPU the time per image hardly depends on the batch
_VAL_COST = 1 / 3  # per image, relative to training: forward alone, without backward


def epoch_seconds(model: Model, dataset: Dataset, train: Mapping[str, Any]) -> float | None:
    """Estimate the seconds per epoch, validation included, from the time of a few training steps.

    Loading and augmenting images is not included. Random states are preserved. Returns None if it cannot be measured,
    for instance because the batch does not fit into memory; the training itself then reduces the batch.

    Args:
        model: model to train.
        dataset: scanned data set.
        train: Ultralytics train arguments; `imgsz`, `batch` and `device` are used.
    """
    arguments = get_cfg(overrides={**train, "task": model.task.name, "cache": False, "rect": False})
    device = find_device(arguments.device)
    batch = int(arguments.batch if arguments.batch >= 1 else DEFAULT_CFG.batch)
    images = min(batch, _CPU_IMAGES) if device.type == "cpu" else batch
    try:
        with preserve_random_state(seed=0):
            seconds = _step_seconds(model, dataset, arguments, images, device)
    except RuntimeError:
        return None
    return seconds / images * (dataset.scan.train_images + _VAL_COST * dataset.scan.val_images)


@safe_loading()
def _step_seconds(model: Model, dataset: Dataset, arguments, images: int, device: torch.device) -> float:
    """Return the shortest time of a training step, on the first train images."""
    config = load_model(model.file)[0].yaml if model.file.endswith(".pt") else read_architecture(model.file)
    options = {"data_kpt_shape": dataset.info["kpt_shape"]} if model.task.name == "pose" else {}
    live = model.task.model(config, ch=dataset.channels, nc=len(dataset.names), verbose=False, **options)
    live.args = arguments
    live.to(device).train()
    arguments.imgsz = round_imgsz(arguments.imgsz, live.stride)
    batch = first_batch(dataset, arguments, images)
    batch = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    batch["img"] = batch["img"].float() / 255

    def step() -> None:
        loss, _ = live(batch)
        loss.sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return best_time(step, _STEPS, warm_ups=0)
