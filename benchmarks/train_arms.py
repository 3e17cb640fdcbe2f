"""The arms of the training benchmark: one step each of a trainer that was set up as for a training.

A step is what the trainers do with a batch: `preprocess_batch`, forward pass and loss, backward pass, and
`optimizer_step` (clipping, optimizer, EMA, zeroed gradients). All arms see the same batch, which Ultralytics' own
loader has made of the demo scenes: eight mosaics with their labels, for example. Loading is not part of a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics import __version__ as ultralytics_version
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import autocast, unwrap_model

from fgd_yolo import FGDConfig, FGDTrainer
from fgd_yolo.demo.demo_dataset import demo_dataset
from fgd_yolo.neck import NeckEnd
from fgd_yolo.training.heads.batch_parts import join_parts
from fgd_yolo.training.speed.beside import Beside
from fgd_yolo.training.speed.pointwise import prefer_onednn
from fgd_yolo.ultralytics import load_model

STUDENT = "yolov8n"
PLAIN, ULTRALYTICS = "plain", "Ultralytics"
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp16",)}
"""Precisions of the teacher that are measured, by the type of the device; the first is the usual one there."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# An untrained teacher is accepted, and every step is at full strength.
OPTIONS = {
    "checks.min_teacher_map": 0,
    "pictures_every": 0,
    "schedule.warmup_epochs": 0,
    "schedule.decay_start": 1,
    "schedule.decay_end": 1,
}
EPOCHS = 100


@dataclass(frozen=True)
class Setting:
    """What all arms of a comparison share.

    Args:
        folder: working folder, with the files that `prepare` has written.
        teacher: name of the teacher's architecture.
        imgsz: side of the images in pixels.
        batch: images.
        device: `cpu` or a number of a GPU.
        compile: whether Ultralytics compiles the student.
    """

    folder: Path
    teacher: str
    imgsz: int
    batch: int
    device: str
    compile: bool = False

    @property
    def data(self) -> Path:
        """The data set."""
        return next(self.folder.glob("demo*/demo.yaml"))

    @property
    def teacher_file(self) -> Path:
        """The teacher's checkpoint."""
        return self.folder / f"{self.teacher}.pt"

    @property
    def batch_file(self) -> Path:
        """The batch, as Ultralytics' loader has made it."""
        return self.folder / "batch.pt"


@dataclass(frozen=True)
class Arm:
    """One of the steps that are compared.

    Args:
        label: its name in the table.
        build: sets up a trainer; picklable, so that a fresh process can do so.
    """

    label: str
    build: Callable[[Setting], Step]


class Step:
    """One training step of a trainer: calling it trains on the batch once.

    Args:
        trainer: an Ultralytics trainer; it is set up here.
        setting: what all arms share.
        threads: number of torch's threads in the step; None leaves it as Ultralytics sets it.
        beside: what runs in each step as soon as the batch is known; it returns what waits for its end, which is called
            before the backward pass.
    """

    def __init__(
        self,
        trainer: BaseTrainer,
        setting: Setting,
        threads: int | None = None,
        beside: Callable[[Tensor], Callable[[], object]] | None = None,
    ):
        self.trainer, self.threads, self.beside = trainer, threads, beside
        set_up(trainer)
        trainer.optimizer.zero_grad()
        self.batch = torch.load(setting.batch_file, weights_only=True)

    def __call__(self) -> None:
        """Run the step to its end, on a GPU too."""
        usual = torch.get_num_threads()
        try:
            if self.threads:
                torch.set_num_threads(self.threads)
            self._run()
        finally:
            if self.threads:
                torch.set_num_threads(usual)
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize()

    def _run(self) -> None:
        """Train on the batch as `BaseTrainer._do_train` does."""
        trainer = self.trainer
        with autocast(torch.bfloat16 if trainer.args.amp == "bf16" else trainer.amp, device=trainer.device.type):
            batch = trainer.preprocess_batch(dict(self.batch))
            wait = self.beside(batch["img"]) if self.beside else None
            if trainer.args.compile:
                predictions = trainer.model(batch["img"])
                loss, _ = unwrap_model(trainer.model).loss(batch, predictions)
            else:
                loss, _ = trainer.model(batch)
            if wait:
                wait()
        trainer.scaler.scale(loss.sum()).backward()
        trainer.optimizer_step()


def set_up(trainer: BaseTrainer) -> None:
    """Set a trainer up as a training does, up to its first batch."""
    trainer._setup_train()
    trainer.epoch = 0
    trainer.run_callbacks("on_train_epoch_start")
    trainer._model_train()


def prepare(setting: Setting) -> None:
    """Write the data set, a batch of it and an untrained teacher to the folder of a setting.

    The teacher's batch norms get the statistics of the batch: without them its maps would fade from layer to layer,
    and numbers so small that a processor is slow with them are no fair work.
    """
    demo_dataset(setting.folder, train_images=setting.batch, val_images=2, image_px=setting.imgsz)
    trainer = DetectionTrainer(overrides=_arguments(setting, "batch"))
    trainer._setup_train()
    batch = next(iter(trainer.train_loader))
    torch.save({name: value for name, value in batch.items() if isinstance(value, Tensor)}, setting.batch_file)
    model = DetectionModel(f"{setting.teacher}.yaml", nc=trainer.data["nc"], verbose=False)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the statistics are those of the one batch
    with torch.no_grad():
        model.train()(batch["img"].float() / 255)
    model.names, model.task = trainer.data["names"], "detect"
    arguments = {
        "task": "detect",
        "data": str(setting.data),
        "imgsz": setting.imgsz,
        "model": f"{setting.teacher}.yaml",
    }
    content = {"epoch": -1, "model": model.half(), "ema": None, "train_args": arguments}
    torch.save({**content, "date": "2026-01-01T00:00:00", "version": ultralytics_version}, setting.teacher_file)


def _arguments(setting: Setting, name: str, **arguments: Any) -> dict[str, Any]:
    """Return the train arguments of an arm, which are Ultralytics' defaults but for files and sizes."""
    return {
        "model": f"{STUDENT}.yaml",
        "data": str(setting.data),
        "imgsz": setting.imgsz,
        "batch": setting.batch,
        "device": setting.device,
        "compile": setting.compile,
        "epochs": EPOCHS,
        "workers": 0,
        "plots": False,
        "verbose": False,
        "project": str(setting.folder),
        "name": name,
        **arguments,
    }


def plain(setting: Setting) -> Step:
    """Return the step without distillation."""
    return Step(DetectionTrainer(overrides=_arguments(setting, "plain")), setting)


def ultralytics(setting: Setting, threads: int | None = None, lower: bool = False) -> Step:
    """Return the step of Ultralytics' own distillation.

    Args:
        setting: what all arms share.
        threads: number of torch's threads; None for Ultralytics' own.
        lower: whether the teacher computes in bfloat16, which Ultralytics does not offer.
    """
    arguments = _arguments(setting, "ultralytics", distill_model=str(setting.teacher_file))
    step = Step(DetectionTrainer(overrides=arguments), setting, threads)
    if lower:
        lower_teacher(step.trainer.model)
    return step


def lower_teacher(model: nn.Module) -> None:
    """Let the teacher of Ultralytics' distillation compute in bfloat16; what the loss reads is float32 as before."""
    teacher = model.teacher_model.to(torch.bfloat16)
    teacher.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(torch.bfloat16), *inputs[1:]))

    def restore(*_: Any) -> None:
        for level, features in model._teacher_feats.items():
            model._teacher_feats[level] = _in_float32(features)

    teacher.register_forward_hook(restore)


def _in_float32(outputs: Any) -> Any:
    """Return outputs of a head, nested as they are, in float32."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _in_float32(output) for name, output in outputs.items()}
    return type(outputs)(_in_float32(output) for output in outputs)


def ours(setting: Setting, method: str, precision: str, measuring: bool = False) -> Step:
    """Return the step of this package.

    Args:
        setting: what all arms share.
        method: methods, joined with `+`.
        precision: the teacher's, a name of `DTYPES`.
        measuring: whether each step measures the gradient ratios, as every `schedule.measure_every`-th does.
    """
    changes = {"schedule.measure_every": 1} if measuring else {}
    config = FGDConfig.from_dict({"method": method, "teacher_precision": precision, **OPTIONS, **changes})
    trainer = FGDTrainer.with_teacher(setting.teacher_file, config)
    return Step(trainer(overrides=_arguments(setting, "fgd_yolo")), setting)


def floor(setting: Setting, precision: str, beside: bool) -> Step:
    """Return the plain step with nothing but a teacher's forward pass to its neck maps: fused, and without head.

    Args:
        setting: what all arms share.
        precision: precision in which the teacher computes, a name of `DTYPES`.
        beside: whether the teacher computes beside the student, as this package lets it; otherwise before it.
    """
    step = plain(setting)
    device, dtype = step.trainer.device, DTYPES[precision]
    teacher = load_model(setting.teacher_file)[0].fuse(verbose=False).eval().requires_grad_(False)
    teacher.model[-1] = NeckEnd(teacher.model[-1])
    if device.type == "cpu":
        prefer_onednn(teacher)
    teacher = teacher.to(device, dtype, memory_format=torch.channels_last)

    def predict(images: Tensor) -> list[Tensor]:
        with torch.no_grad(), autocast(False, device=device.type):
            return teacher.predict(images.to(dtype))

    step.beside = _beside(predict, Beside(device)) if beside else _before(predict)
    return step


def _before(predict: Callable[[Tensor], list[Tensor]]) -> Callable[[Tensor], Callable[[], object]]:
    def start(images: Tensor) -> Callable[[], object]:
        maps = predict(images)
        return lambda: maps

    return start


def _beside(predict: Callable[[Tensor], list[Tensor]], worker: Beside) -> Callable[[Tensor], Callable[[], object]]:
    def start(images: Tensor) -> Callable[[], object]:
        parts = images.tensor_split(worker.pieces(len(images)))
        worker.start(images, [partial(predict, part) for part in parts], join_parts)
        return partial(worker.wait, images)

    return start


def arms_of(methods: Sequence[str], device: str, compiled: bool = False) -> list[Arm]:
    """Return the arms of a comparison, in the order of the table.

    Args:
        methods: methods of this package. The first is measured in every precision of the teacher, and with the gradient
            ratios measured in each step, too.
        device: `cpu` or a number of a GPU.
        compiled: whether the student is compiled: then the first method alone is measured, since compiling takes
            minutes. Ultralytics compiles none that it distils.
    """
    kind = "cpu" if device == "cpu" else "cuda"
    usual, *lower = PRECISIONS[kind]
    arms = [Arm(PLAIN, plain), Arm(ULTRALYTICS, ultralytics), _own(methods[0], usual)]
    if compiled:
        return arms
    arms += [_own(methods[0], precision, f", teacher in {precision}") for precision in lower]
    arms += [_own(method, usual) for method in methods[1:]]
    arms += [_own(methods[0], usual, ", measuring its ratios", measuring=True)]
    for precision in (usual, *lower):
        note = f" in {precision}" if precision in lower else ""
        arms += [
            Arm(f"floor, teacher{note} {place}", partial(floor, precision=precision, beside=place == "beside"))
            for place in ("before", "beside")
        ]
    if kind == "cpu":
        cores = os.cpu_count()
        arms += [
            Arm(f"{ULTRALYTICS}, {cores} threads", partial(ultralytics, threads=cores)),
            Arm(f"{ULTRALYTICS}, teacher in bf16", partial(ultralytics, lower=True)),
        ]
    return arms


def _own(method: str, precision: str, note: str = "", **options: Any) -> Arm:
    return Arm(f"fgd_yolo, {method}{note}", partial(ours, method=method, precision=precision, **options))
