"""Loaders of all val images for a trainer: as the student sees them, and at the size of its teachers' images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.patches import override_configs

from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.training.teachers.image_sizes import ImageSizes
from fgd_yolo.ultralytics import quiet_ultralytics, round_imgsz


@contextmanager
def whole_loader(trainer: BaseTrainer) -> Iterator[Any]:
    """Yield a loader of all val images: among several processes, `test_loader` has a part of them."""
    if not trainer.world.several:
        yield trainer.test_loader
        return
    with _new_loader(trainer, {}) as loader:
        yield loader


@contextmanager
def teachers_loader(trainer: BaseTrainer, stride: int, sizes: ImageSizes | None) -> Iterator[Any]:
    """Yield a loader of all val images at the size of the teachers' images.

    Args:
        trainer: a trainer whose data and loaders are there.
        stride: the least common multiple of the teachers' strides, of which the sides are multiples.
        sizes: sizes of the images if the teachers see larger ones than the student.
    """
    if sizes is None and trainer.stride % stride == 0:
        with whole_loader(trainer) as loader:
            yield loader
        return
    imgsz = trainer.args.imgsz if sizes is None else sizes.teacher
    with _new_loader(trainer, {"imgsz": round_imgsz(imgsz, stride) if trainer.task.stretched else imgsz}) as loader:
        if loader.dataset.rect:  # the borders fill the images to multiples of the student's stride alone
            loader.dataset.batch_shapes = -(-loader.dataset.batch_shapes // stride) * stride
        yield loader


@contextmanager
def _new_loader(trainer: BaseTrainer, changes: dict[str, Any]) -> Iterator[Any]:
    """Yield another loader of all val images, with changes of the arguments, and close it."""
    changes = {**changes, "cache": False}  # not in memory: they are read once
    with preserve_random_state(), override_configs(trainer.args, changes), quiet_ultralytics():
        size = trainer.test_loader.batch_size
        loader = trainer.get_dataloader(trainer.data[trainer.args.split], batch_size=size, rank=-1, mode="val")
    try:
        yield loader
    finally:
        if hasattr(loader, "close"):
            loader.close()
