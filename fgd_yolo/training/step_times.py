"""Time the steps of a training before it starts, with the trainer itself.

The trainer is set up as for the training, in a temporary folder and without its preflight, and makes a few steps. So
precision, threads, the optimizer, the teacher and the data are those of the training.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from ultralytics.utils.torch_utils import autocast, unset_deterministic, unwrap_model

from fgd_yolo.random_state import preserve_random_state
from fgd_yolo.safe_loading import safe_loading
from fgd_yolo.training.trainer import FGDTrainer
from fgd_yolo.ultralytics import load_model

_STEPS, _WARM_UPS = 3, 1
_FEW_IMAGES = 2
_BUDGET_S = 5.0
"""Seconds that the timed steps may take: on a CPU, a batch that takes longer is timed with fewer images."""
# Small steps of Ultralytics that are not timed, per val image: NMS, matching and statistics. Measured on one core (AMD
# Zen 5, 2.6 GHz).
_STATISTICS_S = 0.004


class StepTimes(NamedTuple):
    """What the parts of a training take, in seconds.

    Args:
        setup: from the arguments to the first step, without the preflight.
        batch: a batch: loading, forward and backward pass.
        update: a step of the optimizer, with clipping and the EMA.
        save: writing the checkpoints of an epoch.
        val_image: validation, per image.
        teacher_val_image: validation of all teachers, per image.
        batches: batches of an epoch.
        accumulate: batches for one step of the optimizer.
        val_images: images of a validation.
    """

    setup: float
    batch: float
    update: float
    save: float
    val_image: float
    teacher_val_image: float
    batches: int
    accumulate: int
    val_images: int


def time_steps(trainer_class: type[FGDTrainer], overrides: Mapping[str, Any]) -> tuple[StepTimes, Path]:
    """Set a training up in a temporary folder and time a few of its steps; random states are preserved.

    Args:
        trainer_class: class of the training.
        overrides: its arguments, with `save_dir` of a folder that the caller removes.

    Returns:
        The times, and the checkpoint of the model after these steps.

    Raises:
        Exception: as the training itself.
    """
    probe = type(trainer_class.__name__, (_Probe, trainer_class), {})
    # A compiled student is faster, but compiling takes minutes.
    arguments = {**overrides, "plots": False, "compile": False, "resume": False, "exist_ok": True}
    with preserve_random_state(seed=0), safe_loading():
        try:
            start = perf_counter()
            trainer = probe(overrides=arguments)
            trainer._setup_train()
            setup_s = perf_counter() - start
            return _times(trainer, setup_s), trainer.last
        finally:
            trainer = None
            unset_deterministic()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class _Probe:
    """A mixin that leaves out the checks before the first epoch, since a teacher may still be untrained, and callbacks.

    Loggers of experiments would record the probe as a training.
    """

    def _preflight(self, student) -> None:
        pass

    def run_callbacks(self, event: str) -> None:
        pass


def _times(trainer: FGDTrainer, setup_s: float) -> StepTimes:
    trainer.epoch = 0
    trainer._model_train()
    if trainer.distiller is not None:
        trainer._start_epoch()
    batch_s, update_s, images = _step_times(trainer)
    saving = perf_counter()
    trainer.save_model()
    save_s = perf_counter() - saving
    val_dataset = trainer.test_loader.dataset
    loading = perf_counter()
    batch = _load(val_dataset, images)
    load_s = (perf_counter() - loading) / images
    workers = trainer.test_loader.num_workers
    load_s = 0 if workers else load_s
    teachers = (load_model(file)[0].to(trainer.device) for file in trainer.teachers)
    return StepTimes(
        setup=setup_s,
        batch=batch_s,
        update=update_s,
        save=save_s,
        val_image=_val_seconds(trainer, unwrap_model(trainer.ema.ema), batch) + load_s,
        teacher_val_image=sum(_val_seconds(trainer, teacher, batch) + load_s for teacher in teachers),
        batches=len(trainer.train_loader),
        accumulate=trainer.accumulate,
        val_images=len(val_dataset),
    )


def _step_times(trainer: FGDTrainer) -> tuple[float, float, int]:
    """Return the seconds of a batch and of a step of the optimizer, and how many images the timed batches have."""
    dataset, images = trainer.train_loader.dataset, trainer.batch_size
    if trainer.device.type == "cpu":
        few = min(images, _FEW_IMAGES)
        _forward_backward(trainer, _load(dataset, few))
        few_s = _seconds(trainer, lambda: _forward_backward(trainer, _load(dataset, few)))
        images = max(few, min(images, int(_BUDGET_S / _STEPS / few_s * few)))
    loading, computing, updating = [], [], []
    for _ in range(_WARM_UPS + _STEPS):
        start = perf_counter()
        batch = _load(dataset, images)
        loading.append(perf_counter() - start)
        computing.append(_seconds(trainer, lambda batch=batch: _forward_backward(trainer, batch)))
        updating.append(_seconds(trainer, trainer.optimizer_step))
    load_s, compute_s, update_s = (median(times[_WARM_UPS:]) for times in (loading, computing, updating))
    workers = trainer.train_loader.num_workers
    batch_s = max(compute_s, load_s / workers) if workers else compute_s + load_s
    return batch_s * trainer.batch_size / images, update_s, images


def _load(dataset, count: int) -> dict[str, Any]:
    return dataset.collate_fn([dataset[index] for index in islice(cycle(range(len(dataset))), count)])


def _forward_backward(trainer: FGDTrainer, batch: dict[str, Any]) -> None:
    """Compute a loss and its gradients as Ultralytics' loop does."""
    precision = torch.bfloat16 if trainer.args.amp == "bf16" else trainer.amp
    with autocast(precision, device=trainer.device.type):
        loss, _ = trainer.model(trainer.preprocess_batch(batch))
    trainer.scaler.scale(loss.sum()).backward()


@torch.no_grad()
def _val_seconds(trainer: FGDTrainer, model: torch.nn.Module, batch: dict[str, Any]) -> float:
    """Return the seconds of a validation per image."""
    images = batch["img"].to(trainer.device).float() / 255
    model.eval()

    def forward() -> None:
        with autocast(trainer.amp, device=trainer.device.type):
            model(images)

    forward()
    return _seconds(trainer, forward) / len(images) + _STATISTICS_S


def _seconds(trainer: FGDTrainer, action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return perf_counter() - start
